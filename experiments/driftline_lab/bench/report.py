"""How every bench ends: machine and versions named, and one JSON line last."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from driftline_lab.machine import conditions
from driftline_lab.outputs import apart
from driftline_shared.errors import ConfigError


def finish(result: dict[str, Any], out: Path | None) -> None:
    """Name machine and versions, write the file if wanted, and end with one JSON line."""
    document = {"conditions": conditions(), "result": result}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(document))


def put_together(
    context: typer.Context,
    join: Callable[[Sequence[Path]], dict[str, Any]],
    documents: Sequence[Path],
    out: Path | None,
) -> None:
    """Finish with what earlier results come to together, of a command with `--document`.

    Raises ConfigError for an option that was given beside it: nothing is measured, so it would
    say nothing. And where `out` is one of the documents.
    """
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        given = source is not None and source.name == "COMMANDLINE"
        if given and param.name not in ("documents", "out"):
            raise ConfigError(f"{param.opts[0]} says nothing beside --document: leave it out")
    apart(out, documents)
    finish(join(documents), out)
