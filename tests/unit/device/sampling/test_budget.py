"""The uplink budget as a state machine: no limit is ever passed, whatever the clock does."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.sampling.budget import Budget, SampleRate
from driftline_shared.errors import DataError
from driftline_shared.tokens import SamplingPolicy
from tests.fakes.clock import FakeClock

STEPS = st.lists(st.tuples(st.integers(0, 8 * 3600), st.integers(1, 400)), max_size=120)


def policy(**limits: float) -> SamplingPolicy:
    return SamplingPolicy(**({"max_sample_share": 1.0} | limits))  # type: ignore[arg-type]


@given(STEPS, st.integers(1, 2_000), st.booleans())
def test_no_24_hours_carry_more_than_the_day_bytes(
    steps: list[tuple[int, int]], limit: int, restarts: bool
) -> None:
    clock = FakeClock()
    budget = Budget.of(policy(day_bytes=limit), clock)
    log: list[tuple[float, int]] = []
    for wait_s, size in steps:
        clock.advance(wait_s)
        if restarts:
            state = json.loads(json.dumps(budget.state()))
            budget = Budget.of(policy(day_bytes=limit), clock, state)
        budget.see(1.0)
        if budget.spend(size):
            log.append((clock.now_s(), size))
    for start, _ in log:
        assert sum(n for at, n in log if start <= at <= start + 86_400) <= limit


@given(STEPS, st.floats(0.2, 50), st.booleans())
def test_no_stretch_carries_more_samples_than_rate_and_burst(
    steps: list[tuple[int, int]], per_hour: float, restarts: bool
) -> None:
    clock = FakeClock()
    limits = policy(samples_per_hour=per_hour)
    budget = Budget.of(limits, clock)
    times: list[float] = []
    for wait_s, size in steps:
        clock.advance(wait_s / 20)
        if restarts:
            budget = Budget.of(limits, clock, json.loads(json.dumps(budget.state())))
        budget.see(1.0)
        if budget.spend(size):
            times.append(clock.now_s())
    burst = SampleRate(per_hour).burst
    for first in range(len(times)):
        for last in range(first, len(times)):
            hours = (times[last] - times[first]) / 3600
            assert last - first + 1 <= burst + per_hour * hours + 1e-6


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=200), st.floats(0, 1))
def test_the_share_survives_restarts(steps: list[tuple[bool, bool]], share: float) -> None:
    clock = FakeClock()
    limits = policy(max_sample_share=share)
    budget = Budget.of(limits, clock)
    sent = 0
    for seen, (restart, wants) in enumerate(steps, start=1):
        if restart:
            budget = Budget.of(limits, clock, json.loads(json.dumps(budget.state())))
        budget.see(1.0)
        sent += wants and budget.spend(10)
        assert sent <= share * seen


def test_a_restart_does_not_open_the_day_anew_but_the_next_day_does() -> None:
    clock = FakeClock()
    limits = policy(day_bytes=100)
    budget = Budget.of(limits, clock)
    budget.see(1.0)
    assert budget.spend(100)
    budget = Budget.of(limits, clock, budget.state())
    budget.see(1.0)
    assert not budget.admits()
    clock.advance(26 * 3600)
    assert budget.admits()


def test_a_clock_set_back_neither_opens_nor_locks_the_day() -> None:
    clock = FakeClock()
    budget = Budget.of(policy(day_bytes=100), clock)
    budget.see(1.0)
    assert budget.spend(100)
    clock.advance(-10 * 86_400)
    budget.see(1.0)
    assert not budget.admits()
    clock.advance(26 * 3600)
    assert budget.admits()


def test_a_refused_sample_costs_nothing() -> None:
    clock = FakeClock()
    budget = Budget.of(policy(day_bytes=100), clock)
    budget.see(1.0)
    before = budget.state()
    assert not budget.spend(101)
    assert budget.state() == before
    assert budget.spend(100)


def test_no_limit_means_no_limit() -> None:
    clock = FakeClock()
    budget = Budget.of(policy(), clock)
    for _ in range(500):
        budget.see(0.0)
        assert budget.spend(10_000_000)


def test_another_share_starts_counting_anew() -> None:
    clock = FakeClock()
    budget = Budget.of(policy(max_sample_share=0.9), clock)
    for _ in range(100):
        budget.see(1.0)
        budget.spend(1)
    budget = Budget.of(policy(max_sample_share=0.1), clock, budget.state())
    sent = 0
    for _ in range(100):
        budget.see(1.0)
        sent += budget.spend(1)
    assert 8 <= sent <= 10


@pytest.mark.parametrize(
    "damage",
    [
        {"share": None},
        {"hours": {"x": 1}},
        {"hours": {"1": -5}},
        {"hours": {str(i): 1 for i in range(1_000)}},
        {"rate": {"level": "full", "filled_s": None}},
        {"rate": {}},
    ],
)
def test_a_malformed_state_is_named_not_obeyed(damage: dict[str, object]) -> None:
    budget = Budget.of(policy(), FakeClock())
    with pytest.raises(DataError, match="uplink budget"):
        Budget.of(policy(), FakeClock(), {**budget.state(), **damage})
