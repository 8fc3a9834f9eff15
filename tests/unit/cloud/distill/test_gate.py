"""The gate's verdicts: each limit rejects on its own, and says why."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from driftline_cloud.distill.gate import GateLimits, gain_score, judge
from driftline_cloud.jobs import GateScores

BASE = GateScores(
    agreement=0.60,
    probability=0.55,
    source_accuracy=0.95,
    source_probability=0.93,
    rehearsal_agreement=0.80,
    num_steps=3.0,
    num_holdout=100,
    num_source=256,
    num_rehearsal=50,
)
BETTER = replace(BASE, agreement=0.75, probability=0.70)


def test_a_better_candidate_passes_and_the_numbers_are_all_there() -> None:
    verdict = judge(BETTER, BASE)
    assert verdict.accepted
    assert "0.600 to 0.750" in verdict.reason
    assert verdict.numbers["candidate_agreement"] == 0.75
    assert verdict.numbers["base_source_accuracy"] == 0.95


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            {"agreement": 0.605},
            "agreement with the teacher rose by 0.005, a rise of 0.010 is asked",
        ),
        ({"agreement": 0.4}, "agreement with the teacher fell by 0.200, a rise"),
        ({"source_accuracy": 0.92}, "source accuracy"),
        ({"rehearsal_agreement": 0.7}, "rehearsal"),
        ({"num_steps": 4.0}, "steps"),
        ({"finite": False}, "NaN"),
        ({"num_holdout": 0}, "held-out"),
    ],
)
def test_each_limit_rejects_alone(change: dict[str, float], word: str) -> None:
    verdict = judge(replace(BETTER, **change), BASE)  # type: ignore[arg-type]
    assert not verdict.accepted
    assert word in verdict.reason


def test_a_fall_of_exactly_the_limit_is_allowed() -> None:
    assert judge(
        replace(BETTER, source_accuracy=0.85), replace(BASE, source_accuracy=0.87)
    ).accepted
    assert judge(replace(BASE, agreement=0.61), BASE).accepted


def test_numbers_of_a_broken_candidate_stay_finite() -> None:
    verdict = judge(replace(BETTER, probability=math.nan, finite=False), BASE)
    assert all(math.isfinite(value) for value in verdict.numbers.values())


def test_gain_score_is_continuous_and_never_prefers_a_broken_adapter() -> None:
    assert gain_score(BETTER) > gain_score(BASE)
    assert gain_score(replace(BETTER, finite=False)) == -math.inf


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(ValidationError, match="delta_down"):
        GateLimits(delta_down=2.0)
    with pytest.raises(ValidationError, match="max_step_ratio"):
        GateLimits(max_step_ratio=0.5)
