"""The update state machine under every order of events, with a kill between any two writes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from driftline_device.updates import phases
from driftline_device.updates.phases import Phase, UpdateState
from driftline_shared.errors import Reason


class KilledError(Exception):
    """The process ends here."""


class Device(RuleBasedStateMachine):
    """What lies on disk, and a process that may die between two writes."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = UpdateState()
        self.pointer = 0
        self.previous = 0
        self.failed: dict[int, Reason] = {}
        self.probed: set[int] = {0}
        self.newest = 0
        self.lives = 0

    def write(self, state: UpdateState) -> None:
        self._spend()
        self.disk = state

    def remember(self, version: int, reason: Reason) -> None:
        self._spend()
        self.failed.setdefault(version, reason)

    def point(self, version: int, previous: int) -> None:
        self._spend()
        self.pointer, self.previous = version, previous

    def _spend(self) -> None:
        if self.lives == 0:
            raise KilledError
        self.lives -= 1

    def restart(self) -> None:
        """What Applier.recover does."""
        while True:
            found = phases.restart(self.disk, pointer=self.pointer, failed=self.failed)
            if found.fail is not None:
                self.remember(found.fail, found.roll_back or Reason.PROBE_INTERRUPTED)
            self.write(found.state)
            if found.roll_back is None:
                return
            self.leave(found.roll_back)

    def leave(self, reason: Reason) -> None:
        earlier = self.previous
        self.point(earlier, 0)
        self.write(phases.roll_back(self.disk, earlier, reason))

    def live(self, lives: int, *steps: object) -> None:
        self.lives = lives
        try:
            for step in steps:
                step()  # type: ignore[operator]
        except KilledError:
            # A kill while recovering is recovered from as well.
            self.lives = 2
            try:
                self.restart()
            except KilledError:
                self.lives = 1_000
                self.restart()

    @rule(lives=st.integers(0, 12), passes=st.booleans())
    def update(self, lives: int, passes: bool) -> None:
        self.newest += 1
        target = self.newest

        def run() -> None:
            self.write(phases.begin(self.disk, target))
            self.write(phases.verify(self.disk))
            self.write(phases.stage(self.disk))
            self.write(phases.probe(self.disk))
            if passes:
                self.probed.add(target)
                self.point(target, self.pointer)
                self.write(phases.activate(self.disk))
            else:
                self.remember(target, Reason.PROBE_DISAGREES)
                self.write(phases.fail(self.disk, Reason.PROBE_DISAGREES, ""))

        self.live(lives, run)

    @rule(lives=st.integers(0, 4))
    def link_breaks(self, lives: int) -> None:
        self.live(
            lives,
            lambda: self.write(phases.begin(self.disk, self.newest + 1)),
            lambda: self.write(phases.abandon(self.disk)),
        )

    @precondition(lambda self: self.pointer > 0)
    @rule(lives=st.integers(0, 4))
    def watch_fails(self, lives: int) -> None:
        version = self.pointer
        self.live(
            lives,
            lambda: self.remember(version, Reason.WATCH_UNSURE),
            lambda: self.leave(Reason.WATCH_UNSURE),
        )

    @rule()
    def start_again(self) -> None:
        self.live(1_000, self.restart)

    @rule()
    def trusted(self) -> None:
        self.live(1_000, lambda: self.write(phases.trust(self.disk)))

    @invariant()
    def in_force_is_probed_and_not_failed(self) -> None:
        assert self.pointer in self.probed
        assert self.pointer not in self.failed

    @invariant()
    def state_and_pointer_agree_and_nothing_is_under_way(self) -> None:
        assert self.disk.version == self.pointer
        assert self.disk.phase in phases.RESTING

    @invariant()
    def every_failure_is_told_or_forgotten_for_age(self) -> None:
        told = {report.version for report in self.disk.reports}
        if len(self.disk.reports) < phases.MAX_REPORTS:
            assert set(self.failed) <= told


TestDevice = Device.TestCase
TestDevice.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize(
    ("phase", "pointer", "fail", "after", "reports"),
    [
        (Phase.FETCHING, 3, None, Phase.IDLE, []),
        (Phase.VERIFIED, 3, None, Phase.IDLE, []),
        (Phase.STAGED, 3, None, Phase.IDLE, []),
        (Phase.PROBING, 3, 4, Phase.FAILED, [(4, "failed", Reason.PROBE_INTERRUPTED)]),
        (Phase.PROBING, 4, None, Phase.ACTIVE, [(4, "applied", Reason.APPLIED)]),
        (Phase.IDLE, 7, None, Phase.ACTIVE, []),  # the state file is older: the pointer is right
        (Phase.IDLE, 2, None, Phase.ROLLED_BACK, [(3, "rolled_back", Reason.SLOT_CORRUPT)]),
    ],
)
def test_a_start_settles_what_was_under_way(
    phase: Phase,
    pointer: int,
    fail: int | None,
    after: Phase,
    reports: list[tuple[int, str, Reason]],
) -> None:
    state = UpdateState(phase=phase, version=3, target=4)
    found = phases.restart(state, pointer=pointer, failed={})
    assert (found.fail, found.roll_back, found.state.phase) == (fail, None, after)
    assert found.state.version == pointer
    assert found.state.watching is (phase is Phase.PROBING and after is Phase.ACTIVE)
    assert [(each.version, each.outcome, each.reason) for each in found.state.reports] == reports


def test_a_new_version_that_keeps_killing_the_device_is_left() -> None:
    state = UpdateState(phase=Phase.ACTIVE, version=4, target=4, watching=True)
    for _ in range(phases.MAX_WATCHED_STARTS - 1):
        found = phases.restart(state, pointer=4, failed={})
        assert found.roll_back is None
        state = found.state
    found = phases.restart(state, pointer=4, failed={})
    assert (found.fail, found.roll_back) == (4, Reason.WATCH_ERRORS)


def test_wrong_orders_are_refused() -> None:
    with pytest.raises(ValueError, match="not possible"):
        phases.stage(UpdateState())
    with pytest.raises(ValueError, match="not newer"):
        phases.begin(UpdateState(version=3), 3)
    busy = phases.begin(UpdateState(), 1)
    with pytest.raises(ValueError, match="not possible"):
        phases.begin(busy, 2)


def test_reports_are_bounded_and_finite() -> None:
    state = UpdateState(phase=Phase.PROBING, target=1)
    state = phases.fail(state, Reason.PROBE_NOT_FINITE, "", {"a": float("nan"), "b": 1.0})
    assert state.reports[-1].numbers == {"b": 1.0}
    for version in range(2, phases.MAX_REPORTS + 9):
        busy = replace(state, phase=Phase.PROBING, target=version)
        state = phases.fail(busy, Reason.PROBE_DISAGREES, "")
    assert len(state.reports) == phases.MAX_REPORTS
    assert phases.delivered(state).reports == state.reports[1:]
