"""Benches of a device: how it answers, and what comes at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.options import Out
from driftline_lab.bench.report import finish


def second_question(
    pairs: Annotated[
        list[str] | None,
        typer.Option("--pair", help="A shipped pair, a pair folder or an export; repeat [tiny]."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Pictures, two questions each.", min=7)] = 15,
    threads: Annotated[int, typer.Option(help="CPU threads of each.", min=1)] = 1,
    out: Out = None,
) -> None:
    """A picture's first and second question: time, reading and writing apart, in alternation.

    Example: driftline lab bench second-question --pair tiny --pair ./tiny-export
    """
    from driftline_lab.bench.device.second_question import run_second_question

    finish(run_second_question(pairs or ["tiny"], rounds=rounds, threads=threads), out)


def fuzz_pictures(
    num: Annotated[int, typer.Option(help="Mutated pictures.", min=1)] = 100_000,
    seed: Annotated[int, typer.Option(help="Seed of the mutations.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="Folder for pictures that escape.")] = None,
    out: Out = None,
) -> None:
    """Pictures of all formats, broken at random, as files and as requests: none may escape.

    Example: driftline lab bench fuzz-pictures --num 10000 --seed 3
    """
    from driftline_lab.bench.fuzz.run import run_fuzz

    finish(run_fuzz(num, seed, keep), out)
