"""Student's interval, against numbers of his table."""

from __future__ import annotations

import math

import pytest

from driftline_lab.intervals import summary


def test_the_interval_is_students() -> None:
    # t(0.975, 4) = 2.776; the standard deviation of 1..5 is sqrt(2.5).
    found = summary([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776 * math.sqrt(2.5 / 5)
    assert (found.mean, found.min, found.max) == (3.0, 1.0, 5.0)
    assert found.half == pytest.approx(half, abs=1e-3)
    assert (found.low, found.high) == pytest.approx((3.0 - half, 3.0 + half), abs=1e-3)


def test_one_seed_alone_says_nothing_of_the_mean() -> None:
    found = summary([0.4])
    assert (found.mean, found.spread, found.half) == (0.4, 0.0, math.inf)


@pytest.mark.parametrize("values", [[], [1.0, math.nan]])
def test_there_is_no_mean_of_nothing(values: list[float]) -> None:
    with pytest.raises(ValueError, match="no mean"):
        summary(values)
