"""The share of the distance to the teacher that was made up."""

from __future__ import annotations

import math

import pytest

from driftline_lab.recovered import row_recovered, share_recovered


@pytest.mark.parametrize(
    ("before", "after", "teacher", "share"),
    [(0.5, 0.75, 1.0, 0.5), (0.5, 0.5, 1.0, 0.0), (0.5, 0.25, 1.0, -0.5), (0.5, 1.0, 0.75, 2.0)],
)
def test_it_is_gain_over_gap(before: float, after: float, teacher: float, share: float) -> None:
    row = {"before": before, "after": after, "teacher": teacher}
    assert share_recovered(**row) == row_recovered(row) == share


@pytest.mark.parametrize("teacher", [0.5, 0.4])
def test_there_is_none_without_a_gap(teacher: float) -> None:
    row = {"before": 0.5, "after": 0.6, "teacher": teacher}
    assert share_recovered(**row) is None
    assert math.isnan(row_recovered(row))
