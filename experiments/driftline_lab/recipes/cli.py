"""`driftline lab build-pair`: makes a shipped pair again from its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Build a pair of teacher and student from its recipe.", no_args_is_help=True)


Out = Annotated[Path, typer.Argument(help="Folder to write the pair into.")]
Work = Annotated[
    Path | None,
    typer.Option(help="Folder for caches and stage results; finished stages are not redone."),
]
Seed = Annotated[int, typer.Option(help="Seed of every stage.")]
Threads = Annotated[int, typer.Option(help="CPU threads for training.")]
Share = Annotated[
    float, typer.Option(help="Share of the training steps to take; below 1 for a trial.")
]


@app.command("tiny")
def tiny(
    out: Out,
    work: Work = None,
    seed: Seed = 0,
    threads: Threads = 2,
    share: Share = 1.0,
) -> None:
    """Build the reference pair `tiny` (about 90 minutes on two CPU cores)."""
    # Torch is heavy: only this command needs it, not the help text.
    from driftline_lab.recipes.stages import open_stages
    from driftline_lab.recipes.tiny.build import build_tiny

    with open_stages(work, seed=seed, share=share, num_threads=threads) as stages:
        build_tiny(out, stages)


@app.command("smol")
def smol(
    out: Out, work: Work = None, seed: Seed = 0, threads: Threads = 2, share: Share = 1.0
) -> None:
    """Build the pair `smol` from packaged weights (about 80 minutes on two CPU cores)."""
    from driftline_lab.recipes.smol.build import build_smol
    from driftline_lab.recipes.stages import open_stages

    with open_stages(work, seed=seed, share=share, num_threads=threads) as stages:
        build_smol(out, stages)


@app.command("boards")
def boards(
    out: Out, work: Work = None, seed: Seed = 0, threads: Threads = 2, share: Share = 1.0
) -> None:
    """Build the pair `boards` from drawn positions (about half an hour on two CPU cores)."""
    from driftline_lab.recipes.boards.build import build_boards
    from driftline_lab.recipes.stages import open_stages

    with open_stages(work, seed=seed, share=share, num_threads=threads) as stages:
        build_boards(out, stages)


@app.command("tiny-video")
def tiny_video(
    out: Out, work: Work = None, seed: Seed = 0, threads: Threads = 2, share: Share = 1.0
) -> None:
    """Build the video reference model: one checkpoint, no pair (about two hours on two cores)."""
    from driftline_lab.recipes.stages import open_stages
    from driftline_lab.recipes.tiny_video.build import build_tiny_video

    with open_stages(work, seed=seed, share=share, num_threads=threads) as stages:
        build_tiny_video(out, stages)
