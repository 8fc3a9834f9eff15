"""`driftline lab train-compressor`: trains a method that learns into the student of a pair."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

_REPORT_STEPS = 50


def train_compressor(
    method: Annotated[str, typer.Argument(help="voco, mod or quecc.")],
    out: Annotated[Path, typer.Option("--out", help="Empty or new folder for the new pair.")],
    pair: Annotated[str, typer.Option(help="The pair `tiny`, or a copy of it.")] = "tiny",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="KEY=VALUE of the method, as in configuration; repeat."),
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for token caches and checkpoints.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="JSON file in which this training has a row.")
    ] = None,
    questions: Annotated[
        Literal["own", "all"],
        typer.Option(help="Learn from the data set's own questions, or all that facts answer."),
    ] = "all",
    start: Annotated[
        Path | None, typer.Option(help="What an earlier training wrote, to go on from.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and of the order of pictures.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads for training.")] = 2,
    share: Annotated[
        float, typer.Option(help="Share of the training steps to take; below 1 for a trial.")
    ] = 1.0,
) -> None:
    """Train a compressor and its student together, and write them as a new pair.

    Progress goes to stderr, the last line of stdout is one JSON document.
    Example: driftline lab train-compressor voco --option tokens=1 --out ./tiny-voco
    """
    # Torch is heavy: only this command needs it, not the help text.
    import torch

    from driftline_lab.recipes.compressors.build import train_compressor as run
    from driftline_lab.recipes.compressors.results import described, with_row, write

    torch.set_num_threads(threads)
    given = option or []
    with tempfile.TemporaryDirectory() as scratch:
        trained = run(
            method,
            pair,
            out,
            work or Path(scratch),
            options=given_options(given),
            seed=seed,
            share=share,
            questions=questions,
            start=start,
            report=_report,
        )
    words = ["driftline", "lab", "train-compressor", method, "--pair", pair]
    words += [word for each in given for word in ("--option", each)]
    words += ["--questions", questions, *(["--start", "EARLIER"] if start is not None else [])]
    words += ["--seed", str(seed), "--threads", str(threads), "--share", str(share), "--out", "DIR"]
    row = described(trained, shlex.join(words))
    if results is not None:
        write(results, with_row(results, row))
    typer.echo(f"wrote {out}; run `driftline device calibrate --pair {out}` next", err=True)
    typer.echo(json.dumps(row))


def given_options(pairs: list[str]) -> dict[str, Any]:
    """KEY=VALUE as configuration has them: JSON where it is JSON, else text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, found, value = pair.partition("=")
        if not found:
            raise typer.BadParameter(f"--option is {pair!r}; write KEY=VALUE, as keep=0.25")
        try:
            options[key] = json.loads(value)
        except json.JSONDecodeError:
            options[key] = value
    return options


def _report(num_steps: int) -> Any:
    """A line of mean loss every now and then."""
    losses: list[float] = []

    def report(step: int, loss: float) -> None:
        losses.append(loss)
        if (step + 1) % _REPORT_STEPS == 0 or step + 1 == num_steps:
            mean = sum(losses) / len(losses)
            typer.echo(f"step {step + 1} of {num_steps}: loss {mean:.4f}", err=True)
            losses.clear()

    return report
