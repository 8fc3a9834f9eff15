"""Rows of the history's file to values and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import NoneType
from typing import Any

from driftline_device.history.marks import Mark
from driftline_device.history.pictures import Picture
from driftline_device.history.records import PastAnswer

COLUMNS = (
    "id",
    "unix_s",
    "feed",
    "source",
    "place",
    "question",
    "answer",
    "uncertainty",
    "version",
    "sample",
    "num_bytes",
)
"""Of the table of answers, in the order of `values_of`; they are named as in `PastAnswer`."""

_TYPES: dict[str, Any] = {
    "unix_s": (int, float),
    "uncertainty": (int, float, NoneType),
    "version": int,
    "sample": (str, NoneType),
    "num_bytes": int,
}
"""Of columns that are no text."""

_MOST_UNIX_S = 253_402_300_800.0
"""The year 10000: later times have no date."""

MARK_COLUMNS = (
    "id",
    "unix_s",
    "feed",
    "place",
    "question",
    "said",
    "is_right",
    "answer",
    "version",
)
"""Of the table of marks, without the picture."""

SELECT = (
    f"SELECT {', '.join(f'answers.{name}' for name in COLUMNS)}, marks.is_right, marks.answer,"
    " pictures.id IS NOT NULL OR marks.png IS NOT NULL, teacher.answer, teacher.confidence"
    " FROM answers LEFT JOIN marks USING (id) LEFT JOIN pictures USING (id)"
    " LEFT JOIN teacher USING (id)"
)
"""Rows for `to_past`."""


def values_of(answer: PastAnswer) -> tuple[Any, ...]:
    """In the order of `COLUMNS`; an uncertainty that is no number is none."""
    values = {name: getattr(answer, name) for name in COLUMNS}
    if answer.uncertainty is not None and not math.isfinite(answer.uncertainty):
        values["uncertainty"] = None
    return tuple(values.values())


def to_past(row: Sequence[Any]) -> PastAnswer:
    """Of a row of `SELECT`. Raises ValueError for one that a bad block changed."""
    *values, right, right_answer, has_picture, teacher_answer, teacher_confidence = row
    named = dict(zip(COLUMNS, values, strict=True))
    for name, value in named.items():
        if not isinstance(value, _TYPES.get(name, str)):
            raise ValueError(f"{name} of a past answer is {str(value)[:40]!r}")
    if not 0 <= named["unix_s"] < _MOST_UNIX_S:
        raise ValueError(f"time of a past answer is {named['unix_s']}")
    return PastAnswer(
        **named,
        right=None if right is None else bool(right),
        right_answer=right_answer,
        has_picture=bool(has_picture),
        teacher_answer=teacher_answer,
        teacher_confidence=teacher_confidence,
    )


def to_mark(row: Sequence[Any], picture: Picture) -> Mark:
    """Of a row of `MARK_COLUMNS`."""
    values = dict(zip(MARK_COLUMNS, row, strict=True))
    return Mark(right=bool(values.pop("is_right")), **values, picture=picture)
