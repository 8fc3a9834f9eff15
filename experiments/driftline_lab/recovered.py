"""The share recovered: how much of the distance to its teacher a device made up."""

from __future__ import annotations

import math
from collections.abc import Mapping


def share_recovered(*, before: float, after: float, teacher: float) -> float | None:
    """(after - before) / (teacher - before), of accuracies; None where the teacher is no better."""
    gap = teacher - before
    return (after - before) / gap if gap > 0 else None


def row_recovered(row: Mapping[str, float]) -> float:
    """The same of a demo document's row of one domain; NaN where the teacher is no better."""
    found = share_recovered(before=row["before"], after=row["after"], teacher=row["teacher"])
    return math.nan if found is None else found
