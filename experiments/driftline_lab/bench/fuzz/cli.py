"""`driftline lab bench fuzz`: every format from outside, broken, against what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_lab.bench.options import Out
from driftline_lab.bench.report import finish
from driftline_shared.errors import ConfigError


def fuzz(
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="manifest, tokens, chat …; repeat [all].", metavar="NAME"),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="mutations: by a seed, anywhere; atheris: guided by branches, where it is "
            "installed.",
            metavar="mutations|atheris",
        ),
    ] = "mutations",
    num: Annotated[int, typer.Option(help="Documents of each format, with mutations.", min=1)] = (
        10_000
    ),
    seconds: Annotated[float, typer.Option(help="For each format, with atheris.", min=1)] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of what is broken how.")] = 0,
    keep: Annotated[Path | None, typer.Option(help="Folder for documents that are found.")] = None,
    out: Out = None,
) -> None:
    """Broken documents of every format that comes from outside: each must be read or refused.

    Example: driftline lab bench fuzz --format manifest --format tokens --num 100000 --seed 3
    """
    from driftline_lab.bench.fuzz.formats.run import known, run_atheris, run_mutations

    names = known(formats or [])
    if engine == "mutations":
        found = run_mutations(names, num=num, seed=seed, keep=keep)
    elif engine == "atheris":

        def report(line: str) -> None:
            typer.echo(line, err=True)

        found = run_atheris(names, seconds=seconds, seed=seed, keep=keep, report=report)
    else:
        raise ConfigError(f"no engine {engine!r}", fix="mutations or atheris.")
    total = sum(one["executions"] for one in found.values())
    findings = sum(sum(one["findings"].values()) for one in found.values())
    result = {"engine": engine, "seed": seed, "executions": total, "findings": findings}
    finish({**result, "formats": found}, out)
