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


def finish(result: dict[str, Any], out: Path | None, measured: Any = None) -> None:
    """Name machine and versions, write the file if wanted, and end with one JSON line.

    `measured`: the conditions, where it was not measured here and now.
    """
    document = {"conditions": measured or conditions(), "result": result}
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
    finish(join(documents), out, _conditions(documents))


def _conditions(documents: Sequence[Path]) -> Any:
    """Those that earlier results name: one, or a list where they differ; None where none does."""
    read = [json.loads(file.read_text(encoding="utf-8")) for file in documents]
    named = [one["conditions"] for one in read if isinstance(one, dict) and "conditions" in one]
    distinct = [one for place, one in enumerate(named) if one not in named[:place]]
    return distinct[0] if len(distinct) == 1 else distinct or None
