"""Rows of a long bench in a file: what is done is not done again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_rows(kept: Path | None) -> list[dict[str, Any]]:
    """The rows in `kept`, one of JSON a line; none where there is no file."""
    if kept is None or not kept.is_file():
        return []
    return [json.loads(line) for line in kept.read_text(encoding="utf-8").split("\n") if line]


def add_row(kept: Path | None, row: Mapping[str, Any]) -> None:
    """Add a row to `kept`, if there is one."""
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
