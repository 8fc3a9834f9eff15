"""What reports say about a version: bad ones are stopped on small canaries, good ones seldom."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.rollout.plan import Phase, Plan
from driftline_cloud.rollout.rule import Decision, Evidence, judge, strength

PLAN = Plan(
    phases=(
        Phase(share=0.1, least_s=60.0, least_reports=10),
        Phase(share=1.0, least_s=60.0, least_reports=10),
    ),
    tolerated_share=0.02,
    error_rate=0.05,
)


def _decide(num_devices: int, num_reported: int, num_bad: int, *, s: float = 1e9, phase=0) -> str:
    seen = Evidence(num_devices=num_devices, num_reported=num_reported, num_bad=num_bad)
    return str(judge(seen, PLAN, phase, elapsed_s=s).decision)


@pytest.mark.parametrize(
    ("num_devices", "num_reported", "num_bad", "decision"),
    [
        (1, 1, 1, "stop"),  # a canary of one can stop
        (4, 1, 1, "wait"),  # only the fastest has said anything
        (4, 2, 2, "stop"),
        (4, 4, 1, "wait"),  # too many to go on, too few to stop
        (20, 20, 1, "go_on"),  # one flaky device of many
        (500, 1, 1, "wait"),
        (500, 50, 2, "go_on"),
        (500, 50, 8, "stop"),
        (500, 9, 0, "wait"),  # too few have said anything
        (500, 10, 0, "go_on"),
        (3, 2, 0, "go_on"),  # two thirds: one device may be away for long
        (3, 1, 0, "wait"),
    ],
)
def test_what_a_phase_decides(num_devices, num_reported, num_bad, decision) -> None:
    assert _decide(num_devices, num_reported, num_bad) == decision


def test_a_phase_lasts_its_time_unless_it_is_stopped() -> None:
    assert _decide(4, 4, 0, s=59.0) == "wait"
    assert _decide(4, 4, 4, s=0.0) == "stop"


def test_the_last_phase_ends_whoever_is_away_but_is_still_stopped() -> None:
    assert _decide(1000, 0, 0, phase=1) == "go_on"
    assert _decide(1000, 12, 6, phase=1) == "stop"


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.001, 0.5))
def test_each_failure_speaks_against_a_version_and_each_success_for_it(
    num_good: int, num_bad: int, tolerated: float
) -> None:
    now = strength(num_good + num_bad, num_bad, tolerated)
    assert strength(num_good + num_bad + 1, num_bad + 1, tolerated) > now * 0.999999
    assert strength(num_good + num_bad + 1, num_bad, tolerated) < now * 1.000001


def _stops(share: float, rng: random.Random, num_devices: int = 200) -> bool:
    num_bad = 0
    for number in range(1, num_devices + 1):  # looked at after every single report
        num_bad += rng.random() < share
        if _decide(num_devices, number, num_bad) == Decision.STOP:
            return True
    return False


def test_however_often_it_is_looked_at_good_versions_are_seldom_stopped_bad_ones_nearly_always():
    rng = random.Random(0)
    assert sum(_stops(0.02, rng) for _ in range(200)) <= 0.05 * 200
    assert sum(_stops(0.15, rng) for _ in range(50)) >= 49
