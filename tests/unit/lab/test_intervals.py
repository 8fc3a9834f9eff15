"""Student's interval, against numbers of his table."""

from __future__ import annotations

import math

import pytest

from driftline_lab.intervals import paired, summary


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


def test_a_paired_difference_is_judged_by_students_test() -> None:
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.464 with 2 degrees of freedom, p = 0.0742.
    found = paired([3.0, 5.0, 7.0], [2.0, 3.0, 4.0])
    assert (found.difference.mean, found.difference.min) == (2.0, 1.0)
    assert found.p == pytest.approx(0.0742, abs=1e-4)


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [([0.5], [0.1], 1.0), ([1.0, 2.0], [1.0, 2.0], 1.0), ([2.0, 3.0], [1.0, 2.0], 0.0)],
)
def test_without_a_spread_there_is_no_test_to_make(
    ours: list[float], theirs: list[float], p: float
) -> None:
    assert paired(ours, theirs).p == p


def test_arms_of_other_lengths_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="argument"):
        paired([1.0], [1.0, 2.0])
