"""Which step may follow which; a stopped version never moves again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.rollout import rollout as machine
from driftline_cloud.rollout.plan import RolloutSettings, plan_for
from driftline_cloud.rollout.rollout import TRANSITIONS, Rollout, RolloutState
from driftline_shared.errors import DataError

STEPS = (
    machine.start,
    machine.go_on,
    machine.finish,
    machine.pause,
    machine.resume,
    machine.stop,
    machine.supersede,
)


def _fresh(num_devices: int = 100) -> Rollout:
    plan = plan_for(RolloutSettings(), num_devices)
    return Rollout(line="l", version=3, round_id="r", plan=plan)


def _step(rollout: Rollout, step) -> Rollout:
    return step(rollout, now_unix_s=rollout.changed_unix_s + 1, reason="because")


def test_phase_by_phase_to_everyone() -> None:
    rollout, shares = _step(_fresh(), machine.start), []
    while rollout.is_open:
        shares.append(rollout.share)
        rollout = _step(rollout, machine.go_on)
    assert shares == [0.05, 0.25, 1.0]
    assert (rollout.state, rollout.share) == (RolloutState.COMPLETE, 1.0)


def test_few_devices_have_it_at_once() -> None:
    assert _step(_fresh(3), machine.start).state is RolloutState.COMPLETE


def test_a_pause_begins_the_time_of_its_phase_anew() -> None:
    rolling = _step(_step(_fresh(), machine.start), machine.go_on)
    resumed = _step(_step(rolling, machine.pause), machine.resume)
    assert (resumed.phase, resumed.state) == (1, RolloutState.ROLLING)
    assert resumed.phase_unix_s == resumed.changed_unix_s > rolling.phase_unix_s


@given(st.lists(st.sampled_from(STEPS), max_size=12))
def test_every_path_keeps_to_the_table_and_ends_at_a_stop(steps) -> None:
    rollout = _fresh()
    for step in steps:
        before = rollout
        try:
            rollout = _step(rollout, step)
        except DataError as error:
            assert str(before.state) in str(error)
            continue
        if step not in (machine.finish, machine.go_on) or before.state is rollout.state:
            assert rollout.state in TRANSITIONS[before.state] | {RolloutState.ROLLING}
        assert before.state is not RolloutState.STOPPED
        assert rollout.phase >= before.phase


def test_an_order_that_does_not_fit_says_how_it_is() -> None:
    with pytest.raises(DataError, match="version 3 of line l is awaiting_approval, it cannot be p"):
        _step(_fresh(), machine.pause)
