"""When a round starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.rounds.trigger import TriggerPolicy, Waiting, rest_s, why_start

POLICY = TriggerPolicy(
    round_samples=100,
    max_age_s=60.0,
    age_min_samples=10,
    drift_share=0.5,
    drift_min_samples=40,
    cooldown_s=5.0,
    failed_cooldown_s=30.0,
)
QUIET = Waiting(num_samples=0, oldest_age_s=0.0, drift_score=0.0, rested_s=None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"num_samples": 99}, None),
        ({"num_samples": 100}, "count"),
        ({"num_samples": 40, "drift_score": 0.5}, "drift"),
        ({"num_samples": 39, "drift_score": 1.0}, None),
        ({"num_samples": 40, "drift_score": 0.49}, None),
        ({"num_samples": 10, "oldest_age_s": 60.0}, "age"),
        ({"num_samples": 9, "oldest_age_s": 1e9}, None),
        ({"num_samples": 10, "oldest_age_s": 59.9}, None),
        ({"num_samples": 100, "rested_s": 4.9}, None),
        ({"num_samples": 100, "rested_s": 5.0}, "count"),
        ({"num_samples": 100, "rested_s": 29.0, "num_failures": 1}, None),
        ({"num_samples": 100, "rested_s": 30.0, "num_failures": 1}, "count"),
        ({"num_samples": 100, "rested_s": 59.0, "num_failures": 2}, None),
    ],
)
def test_the_first_reason_counts(changes: dict[str, float], why: str | None) -> None:
    assert why_start(POLICY, replace(QUIET, **changes)) == why


def test_age_and_drift_can_be_switched_off() -> None:
    policy = POLICY.model_copy(update={"max_age_s": 0.0, "drift_share": 0.0})
    waiting = replace(QUIET, num_samples=99, oldest_age_s=1e9, drift_score=1.0)
    assert why_start(policy, waiting) is None


@given(st.integers(0, 200), st.floats(0, 1e6), st.floats(0, 1))
def test_more_samples_never_stop_a_round(num: int, age_s: float, drift: float) -> None:
    waiting = Waiting(num_samples=num, oldest_age_s=age_s, drift_score=drift, rested_s=None)
    more = replace(waiting, num_samples=num + 1)
    assert why_start(POLICY, waiting) is None or why_start(POLICY, more) is not None


@given(st.integers(0, 1_000))
def test_rest_after_failures_grows_to_an_hour(num_failures: int) -> None:
    assert rest_s(POLICY, num_failures) <= rest_s(POLICY, num_failures + 1) <= 3600.0
