"""`driftline models`: which pairs are here, what a checkpoint is, whether a pair fits together."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from driftline_shared.errors import PairError
from driftline_shared.models.adapter_cli import app as adapter_app
from driftline_shared.models.pair import Pair, load_pair, shipped_pairs, token_space_digest

app = typer.Typer(
    help="Pairs of teacher and student: list, make, inspect, check and fit them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(adapter_app, name="adapter")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]
PairArgument = Annotated[
    str, typer.Argument(help="A shipped pair, a folder with pair.toml, or a pair's TOML file.")
]

_FIT_EXAMPLES = """
**Examples**

    driftline models fit-token-space ./my-pair --images photos/ --questions photos/source.jsonl

    driftline models fit-token-space ./my-pair

Without --images the stored tokens of the source set are used again. A row of the questions is
{"image": path below --images, "question", "answer"}. `driftline device calibrate` comes next.
"""


@app.command("fit-token-space", epilog=_FIT_EXAMPLES)
def fit_token_space(
    pair: PairArgument,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of calibration images.")
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option("--questions", help="JSONL of questions and answers about those images."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="Most images to use.", min=2)] = 256,
    compute: Annotated[str, typer.Option("--compute", help="cpu, cuda, cuda:1 …")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Fit channel ranges, pooled statistics and, where towers differ, the translator."""
    from rich.console import Console
    from rich.progress import Progress

    from driftline_shared.errors import ConfigError
    from driftline_shared.models.calibration_images import folder_set, question_set
    from driftline_shared.models.fitting import fit_images, fit_stored
    from driftline_shared.models.pair import load_draft

    draft = load_draft(pair)
    if images is None:
        if questions is not None:
            raise ConfigError("--questions are about images: give --images, too")
        fitted, left_out = fit_stored(draft), ()
    else:
        given = question_set(images, questions, limit) if questions else folder_set(images, limit)
        left_out = given.broken
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("encoding calibration images", total=given.num_images)
            fitted = fit_images(
                draft, given, lambda done, _: bar.update(task, completed=done), device=compute
            )
    for told in (*left_out, *fitted.broken):
        typer.echo(f"left out: {told}", err=True)
    if as_json:
        typer.echo(json.dumps(asdict(fitted)))
        return
    grid = fitted.grid
    typer.echo(
        f"token space {fitted.digest[:16]}…: {fitted.num_images} images, {fitted.num_rows} "
        f"questions, grid {grid.frames} x {grid.rows} x {grid.cols}, width {fitted.width}"
    )
    if fitted.translator_error is not None:
        typer.echo(
            f"translator: relative error {fitted.translator_error:.3f} on held-out images "
            "(0 is perfect, 1 is no better than the mean)"
        )
    elif fitted.num_rows:
        typer.echo(f"next: driftline device calibrate --pair {pair}")


@app.command()
def assemble(pair: PairArgument) -> None:
    """Make a pair's checkpoints from packaged weights now, rather than on first use.

    Example: driftline models assemble smol
    """
    from driftline_shared.models.pair import load_draft

    draft = load_draft(pair)
    for side in (draft.teacher, draft.student):
        typer.echo(f"{side.side}: {side.dir}")


@app.command("list")
def list_pairs(as_json: AsJson = False) -> None:
    """The pairs inside this install.

    Example: driftline models list --json
    """
    rows = [_summary(load_pair(name)) for name in shipped_pairs()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(
            f"{row['name']}: {row['tokens']} tokens x {row['width']}, student {row['quantization']}"
        )


@app.command()
def check(
    pair: Annotated[str, typer.Argument(help="A shipped pair, or a folder with pair.toml.")],
    as_json: AsJson = False,
) -> None:
    """Whether a pair is whole: files, one vision tower, one vocabulary.

    Examples: driftline models check tiny  |  driftline models check ./my-pair --json
    """
    loaded = load_pair(pair)
    findings = _findings(loaded)
    if as_json:
        typer.echo(json.dumps({"pair": _summary(loaded), "findings": findings}))
    else:
        for finding in findings or ["whole: one tower, one vocabulary, all files there"]:
            typer.echo(f"{loaded.name}: {finding}")
    if findings:
        raise typer.Exit(1)


def _findings(pair: Pair) -> list[str]:
    """What is wrong, one sentence each."""
    found = []
    for side in (pair.teacher_dir, pair.student_dir):
        if token_space_digest(side) != pair.token_space.digest:
            found.append(
                f"{side.name}'s vision tower is not the one pair.toml names; "
                "fit the token space anew or use checkpoints that share a tower"
            )
    if _vocabulary(pair.teacher_dir) != _vocabulary(pair.student_dir):
        found.append("teacher and student have different vocabularies; distillation needs one")
    for part in (pair.source_set, pair.probe_set, lambda: pair.gate):
        try:
            part()
        except PairError as error:
            found.append(str(error))
    return found


def _vocabulary(side: Path) -> Any:
    try:
        return json.loads((side / "tokenizer.json").read_text())["model"]["vocab"]
    except (OSError, ValueError, KeyError) as error:
        raise PairError(f"{side / 'tokenizer.json'} cannot be read: {error}") from error


def _summary(pair: Pair) -> dict[str, object]:
    return {
        "name": pair.name,
        "folder": pair.dir.name,
        "quantization": pair.quantization,
        "tokens": pair.token_space.grid.num_tokens,
        "width": pair.token_space.width,
        "token_space": pair.token_space.digest,
        "base_model": pair.base_model,
        "adapter": asdict(pair.adapter),
    }
