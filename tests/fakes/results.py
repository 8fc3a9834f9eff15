"""Rows of a run of the lab, made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from driftline_lab.experiments.result import Row


def some_row(kind: str, domain: str, accuracy: Mapping[str, float], **changes: Any) -> Row:
    """A row of a run in which nothing was sent, with what `changes` says."""
    zeros = dict.fromkeys(
        ("segment", "round", "seen", "sent", "bytes_up", "bytes_down", "steps"), 0
    )
    return Row(kind=kind, domain=domain, accuracy=dict(accuracy), **{**zeros, **changes})
