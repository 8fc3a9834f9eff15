"""`driftline lab build-pair`: makes a shipped pair again from its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Build a pair of teacher and student from its recipe.", no_args_is_help=True)


@app.command("tiny")
def tiny(
    out: Annotated[Path, typer.Argument(help="Folder to write the pair into.")],
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for caches and stage results; finished stages are not redone."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every stage.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads for training.")] = 2,
    share: Annotated[
        float, typer.Option(help="Share of the training steps to take; below 1 for a trial.")
    ] = 1.0,
) -> None:
    """Build the reference pair `tiny` (about an hour on two CPU cores)."""
    # Torch is heavy: only this command needs it, not the help text.
    from driftline_lab.recipes.tiny.build import build_tiny

    build_tiny(out, work=work, seed=seed, num_threads=threads, share=share)
