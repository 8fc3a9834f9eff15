"""`driftline models`: which pairs are here, and whether one is whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from driftline_shared.errors import PairError
from driftline_shared.models.pair import Pair, load_pair, shipped_pairs, token_space_digest

app = typer.Typer(help="Pairs of teacher and student: list them, check one.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


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
