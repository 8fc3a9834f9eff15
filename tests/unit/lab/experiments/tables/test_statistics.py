"""Measures of the tables against values worked out by hand, or by their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_lab.experiments.tables.statistics import (
    auroc,
    backward_transfer,
    fitted_confidence,
    forgetting,
    front,
    spread,
)


def test_the_interval_is_students() -> None:
    found = spread([1.0, 2.0, 3.0])
    # t(0.975, 2) = 4.302653; the standard error is 1 / sqrt(3).
    assert found["mean"] == 2.0
    assert found["interval"] == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert found["worst"] == 1.0 and found["num"] == 3
    assert spread([1.0, 2.0], higher_is_better=False)["worst"] == 2.0
    assert spread([5.0])["interval"] == 0.0


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_auroc_is_the_chance_of_the_right_order(rows: list[tuple[int, bool]]) -> None:
    scores, wrong = [float(s) for s, _ in rows], [w for _, w in rows]
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, w in zip(scores, wrong, strict=True)
        if w
        for b, v in zip(scores, wrong, strict=True)
        if not v
    ]
    found = auroc(scores, wrong)
    assert (found is None) == (not pairs)
    if pairs:
        assert found == pytest.approx(np.mean(pairs))


def test_a_fitted_confidence_falls_with_the_score_and_is_calibrated() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=4_000)
    right = rng.random(4_000) < 1 / (1 + np.exp(2 * scores - 1))
    sure = fitted_confidence(list(scores), list(right), [-1.0, 0.0, 1.0])
    assert sure == pytest.approx(1 / (1 + np.exp(2 * np.array([-1, 0, 1]) - 1)), abs=0.03)


def test_a_fit_without_wrong_answers_stays_below_certainty() -> None:
    sure = fitted_confidence([0.1, 0.2, 0.3], [True] * 3, [0.2])
    assert 0.7 < sure[0] < 0.9  # (3 + 1) / (3 + 2)


ENDS = [
    {"a": 0.9, "b": 0.5, "c": 0.4},
    {"a": 0.7, "b": 0.8, "c": 0.4},
    {"a": 0.8, "b": 0.6, "c": 0.9},
]


def test_forgetting_and_backward_transfer_are_those_of_the_papers() -> None:
    assert forgetting(ENDS, "abc") == pytest.approx(((0.9 - 0.8) + (0.8 - 0.6)) / 2)
    assert backward_transfer(ENDS, "abc") == pytest.approx(((0.8 - 0.9) + (0.6 - 0.8)) / 2)
    assert forgetting(ENDS[:1], "a") == 0.0


def test_the_front_is_what_nothing_beats() -> None:
    assert front([(3, 0.9), (1, 0.5), (2, 0.4), (2, 0.7), (4, 0.9)]) == [1, 3, 0]
