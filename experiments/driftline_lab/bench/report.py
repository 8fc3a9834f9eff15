"""How every bench ends: machine and versions named, and one JSON line last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from driftline_lab.machine import conditions


def finish(result: dict[str, Any], out: Path | None) -> None:
    """Name machine and versions, write the file if wanted, and end with one JSON line."""
    document = {"conditions": conditions(), "result": result}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(document))
