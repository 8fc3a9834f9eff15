"""The file of results: one row a training, with its command and machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from driftline_lab.machine import conditions
from driftline_lab.recipes.compressors.build import Trained
from driftline_shared.host.durable import write_atomic

DEFINITION = (
    "retention = (x - lower) / (upper - lower): upper, the student as it is; lower, the method "
    "with freshly drawn weights and no training; x, after training; shares of source questions "
    "about test pictures answered exactly"
)
_KEY = ("method", "options", "pair", "seed", "questions", "steps_before")


def described(trained: Trained, command: str) -> dict[str, Any]:
    """A training with its conditions."""
    return {"command": command, "conditions": conditions(), "result": asdict(trained)}


def with_row(path: Path, row: dict[str, Any]) -> dict[str, Any]:
    """The document at `path` with `row` in place of one of the same method, options and seed."""
    rows = json.loads(path.read_text(encoding="utf-8"))["trainings"] if path.exists() else []
    key = [row["result"][name] for name in _KEY]
    others = [each for each in rows if [each["result"][name] for name in _KEY] != key]
    ordered = sorted(
        [*others, row],
        key=lambda each: (
            each["result"]["method"],
            json.dumps(each["result"]["options"]),
            each["result"]["steps_before"],
        ),
    )
    return {"retention": DEFINITION, "trainings": ordered}


def write(path: Path, document: dict[str, Any]) -> None:
    """Whole or not at all."""
    write_atomic(path, (json.dumps(document, indent=1) + "\n").encode())
