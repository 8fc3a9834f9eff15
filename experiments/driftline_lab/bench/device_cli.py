"""Benches of a device: how it answers, and what comes at it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.options import Out
from driftline_lab.bench.report import finish


def answers(
    export: Annotated[Path, typer.Option(help="An export of the pair.")],
    pair: Annotated[str, typer.Option(help="The pair itself, for the torch runtime.")] = "tiny",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder whose test sets are asked, as `driftline lab stream` writes it; by "
            "default questions of easy-VQA."
        ),
    ] = None,
    questions: Annotated[int, typer.Option(help="Questions of easy-VQA.", min=30)] = 1_000,
    scored: Annotated[int, typer.Option(help="Of them, with all scores; 0: none.", min=0)] = 200,
    rounds: Annotated[int, typer.Option(help="Timed passes of each runtime.", min=1)] = 5,
    threads: Annotated[int, typer.Option(help="CPU threads of each.", min=1)] = 1,
    out: Out = None,
) -> None:
    """An export in each precision beside fp32 and torch: answers, scores, time to an answer.

    Examples:

        driftline lab bench answers --export ./export --questions 1000

        driftline lab bench answers --pair smol --export ./smol-export --data ./smol-stream
    """
    from driftline_lab.bench.device.answers import run_answers

    done = run_answers(
        pair,
        str(export),
        data=data,
        num_questions=questions,
        num_scored=scored,
        rounds=rounds,
        threads=threads,
    )
    finish(done, out)


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
