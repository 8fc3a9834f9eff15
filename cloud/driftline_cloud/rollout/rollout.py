"""A rollout as a value: how far a version has got, and which step may follow which.

    awaiting_approval -> rolling (phase 0) -> ... -> rolling (last) -> complete
                          |  ^                                            |
                          v  |                                            |
                         paused                                           |
    any of these -> stopped: nobody gets it any more, an earlier one is released again
    any open one -> superseded: a newer version is on its way

Nothing here waits, reads a clock or touches a disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from driftline_cloud.rollout.plan import Phase, Plan
from driftline_shared.errors import DataError


class RolloutState(StrEnum):
    """Where a rollout is; the value is what database, protocol and commands say."""

    AWAITING = "awaiting_approval"
    ROLLING = "rolling"
    PAUSED = "paused"
    COMPLETE = "complete"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"


OPEN_STATES = frozenset({RolloutState.AWAITING, RolloutState.ROLLING, RolloutState.PAUSED})
"""Of a version that is on its way."""

TRANSITIONS: Mapping[RolloutState, frozenset[RolloutState]] = {
    RolloutState.AWAITING: frozenset(
        {RolloutState.ROLLING, RolloutState.COMPLETE, RolloutState.STOPPED, RolloutState.SUPERSEDED}
    ),
    RolloutState.ROLLING: frozenset(
        {
            RolloutState.ROLLING,
            RolloutState.PAUSED,
            RolloutState.COMPLETE,
            RolloutState.STOPPED,
            RolloutState.SUPERSEDED,
        }
    ),
    RolloutState.PAUSED: frozenset(
        {RolloutState.ROLLING, RolloutState.STOPPED, RolloutState.SUPERSEDED}
    ),
    RolloutState.COMPLETE: frozenset({RolloutState.STOPPED}),
    RolloutState.STOPPED: frozenset(),
    RolloutState.SUPERSEDED: frozenset({RolloutState.STOPPED}),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """How far one version of a line has got.

    `round_id`: what made it. `phase`: index into the plan's phases. `restores`: the version whose
    bits it has again, of a rollback. `restore_to`: of a stopped one, the version that is to be
    released again; `followed_by`: as which, once it is. `num_devices`: of the present phase.
    `reason`: why it is as it is. Times in seconds since 1970.
    """

    line: str
    version: int
    round_id: str
    plan: Plan
    state: RolloutState = RolloutState.AWAITING
    phase: int = 0
    num_devices: int = 0
    reason: str = ""
    restores: int | None = None
    restore_to: int | None = None
    followed_by: int | None = None
    created_unix_s: int = 0
    phase_unix_s: int = 0
    changed_unix_s: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it is on its way: neither everywhere nor over."""
        return self.state in OPEN_STATES

    @property
    def share(self) -> float:
        """Of the line's devices that may have got it, 0..1."""
        if self.state is RolloutState.AWAITING:
            return 0.0
        is_everyones = self.state is RolloutState.COMPLETE or not self.plan.phases
        return 1.0 if is_everyones else self.now.share

    @property
    def now(self) -> Phase:
        """The present phase of the plan."""
        return self.plan.phases[self.phase]

    @property
    def is_last_phase(self) -> bool:
        return self.phase == len(self.plan.phases) - 1

    @property
    def owes_restore(self) -> bool:
        """Whether an earlier version is to be released again, and is not yet."""
        return self.restore_to is not None and self.followed_by is None


def number_id(line: str, version: int) -> str:
    """Under which `version` of `line` is released that has the bits of the one before."""
    return f"{line}-n{version:04d}"


def restore_id(line: str, version: int) -> str:
    """What an earlier version is released under that takes the place of `version`."""
    return f"{line}-undo{version:04d}"


def start(rollout: Rollout, *, now_unix_s: int, reason: str) -> Rollout:
    """Begin the first phase; a plan of one phase that waits for nothing is complete at once."""
    if rollout.state is not RolloutState.AWAITING:
        raise _cannot(rollout, "be approved")
    return _enter(rollout, 0, now_unix_s=now_unix_s, reason=reason)


def go_on(rollout: Rollout, *, now_unix_s: int, reason: str) -> Rollout:
    """Begin the next phase; after the last one the version is everyone's."""
    if rollout.state not in (RolloutState.ROLLING, RolloutState.PAUSED):
        raise _cannot(rollout, "go on")
    rolling = replace(rollout, state=RolloutState.ROLLING)
    if rollout.is_last_phase:
        return _to(rolling, RolloutState.COMPLETE, now_unix_s=now_unix_s, reason=reason)
    return _enter(rolling, rollout.phase + 1, now_unix_s=now_unix_s, reason=reason)


def finish(rollout: Rollout, *, now_unix_s: int, reason: str) -> Rollout:
    """Everyone gets it now, whatever the plan says."""
    if not rollout.is_open:
        raise _cannot(rollout, "be promoted")
    last = replace(
        rollout,
        state=RolloutState.ROLLING,
        phase=len(rollout.plan.phases) - 1,
        phase_unix_s=now_unix_s,
    )
    return _to(last, RolloutState.COMPLETE, now_unix_s=now_unix_s, reason=reason)


def pause(rollout: Rollout, *, now_unix_s: int, reason: str) -> Rollout:
    """Nobody else gets it for now; who has it keeps it."""
    if rollout.state is not RolloutState.ROLLING:
        raise _cannot(rollout, "be paused")
    return _to(rollout, RolloutState.PAUSED, now_unix_s=now_unix_s, reason=reason)


def resume(rollout: Rollout, *, now_unix_s: int, reason: str) -> Rollout:
    """Go on in the phase it was paused in, whose time begins anew."""
    if rollout.state is not RolloutState.PAUSED:
        raise _cannot(rollout, "be resumed")
    going = _to(rollout, RolloutState.ROLLING, now_unix_s=now_unix_s, reason=reason)
    return replace(going, phase_unix_s=now_unix_s)


def stop(
    rollout: Rollout, *, now_unix_s: int, reason: str, restore_to: int | None = None
) -> Rollout:
    """Nobody gets it any more; `restore_to` is to be released again in its place."""
    if RolloutState.STOPPED not in TRANSITIONS[rollout.state]:
        raise _cannot(rollout, "be stopped")
    stopped = _to(rollout, RolloutState.STOPPED, now_unix_s=now_unix_s, reason=reason)
    return replace(stopped, restore_to=restore_to)


def supersede(rollout: Rollout, *, now_unix_s: int, reason: str) -> Rollout:
    """A newer version is on its way: this one reaches nobody else."""
    if not rollout.is_open:
        raise _cannot(rollout, "be superseded")
    return _to(rollout, RolloutState.SUPERSEDED, now_unix_s=now_unix_s, reason=reason)


def restored(rollout: Rollout, version: int) -> Rollout:
    """What was to be released again is, as `version`."""
    if not rollout.owes_restore:
        raise _cannot(rollout, "be followed by a rollback")
    return replace(rollout, followed_by=version)


def _enter(rollout: Rollout, phase: int, *, now_unix_s: int, reason: str) -> Rollout:
    entered = replace(rollout, phase=phase, phase_unix_s=now_unix_s)
    at_once = entered.is_last_phase and not entered.now.least_s and not entered.now.least_reports
    to = RolloutState.COMPLETE if at_once else RolloutState.ROLLING
    return _to(entered, to, now_unix_s=now_unix_s, reason=reason)


def _to(rollout: Rollout, state: RolloutState, *, now_unix_s: int, reason: str) -> Rollout:
    if state not in TRANSITIONS[rollout.state]:
        raise _cannot(rollout, f"become {state}")
    return replace(rollout, state=state, reason=reason, changed_unix_s=now_unix_s)


def _cannot(rollout: Rollout, what: str) -> DataError:
    return DataError(
        f"version {rollout.version} of line {rollout.line} is {rollout.state}, it cannot {what}",
        fix="`driftline cloud release list` shows what is under way.",
    )
