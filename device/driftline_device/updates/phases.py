"""The life of one update as a pure state machine: every transition is a function of values.

    idle -> fetching -> verified -> staged -> probing -> active
                 \\__________\\_________\\_________\\___-> failed
    active -> rolled_back          (watch after the swap, operator, or a broken slot)

A caller persists each state before it begins the work that the state names (journal.py). The
slots' pointer is the commit point of `active`: if the device stops while `probing`, the pointer
says whether the probe had passed. Fetching, verified and staged are simply started again; a stop
while probing is a failure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from driftline_shared.bounds import MAX_DETAIL_CHARS
from driftline_shared.errors import Reason, explain
from driftline_shared.status import UpdateOutcome, UpdateReport

MAX_REPORTS = 256
"""Most outcomes kept for a cloud that cannot be reached; the oldest are forgotten."""

MAX_WATCHED_STARTS = 3
"""Starts in a row without a single answer after which a new version counts as the cause."""


class Phase(StrEnum):
    """Where the newest update stands."""

    IDLE = "idle"
    FETCHING = "fetching"
    VERIFIED = "verified"
    STAGED = "staged"
    PROBING = "probing"
    ACTIVE = "active"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"


RESTING = frozenset({Phase.IDLE, Phase.ACTIVE, Phase.FAILED, Phase.ROLLED_BACK})
"""Phases in which nothing is under way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateState:
    """Everything the device must remember about updates, apart from adapters and failures.

    `version`: in force. `target`: of the newest update, under way or done. `watching`: the version
    in force is new and still under watch, for the `num_starts`-th start. `reports`: what the
    cloud does not have yet, oldest first.
    """

    phase: Phase = Phase.IDLE
    version: int = 0
    target: int = 0
    reason: Reason = Reason.APPLIED
    detail: str = ""
    watching: bool = False
    num_starts: int = 0
    reports: tuple[UpdateReport, ...] = ()

    @property
    def outcome(self) -> str:
        """Of the newest update: applied, failed or rolled_back; nothing while it is under way."""
        outcomes = {
            Phase.ACTIVE: UpdateOutcome.APPLIED,
            Phase.FAILED: UpdateOutcome.FAILED,
            Phase.ROLLED_BACK: UpdateOutcome.ROLLED_BACK,
        }
        return outcomes[self.phase].value if self.phase in outcomes else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """What a start finds: the corrected state, and what the caller must do before anything else.

    `fail`: version to remember as failed. `roll_back`: put the earlier version in force.
    """

    state: UpdateState
    fail: int | None = None
    roll_back: Reason | None = None


def begin(state: UpdateState, target: int) -> UpdateState:
    """A manifest was accepted: its bytes are about to be fetched."""
    _expect(state, RESTING)
    if target <= state.version:
        raise ValueError(f"version {target} is not newer than {state.version}")
    return replace(state, phase=Phase.FETCHING, target=target, reason=Reason.APPLIED, detail="")


def verify(state: UpdateState) -> UpdateState:
    """The bytes decode and every digest is right."""
    _expect(state, {Phase.FETCHING})
    return replace(state, phase=Phase.VERIFIED)


def stage(state: UpdateState) -> UpdateState:
    """The spare slot holds the new version durably."""
    _expect(state, {Phase.VERIFIED})
    return replace(state, phase=Phase.STAGED)


def probe(state: UpdateState) -> UpdateState:
    """The new version is about to be run for the first time."""
    _expect(state, {Phase.STAGED})
    return replace(state, phase=Phase.PROBING)


def activate(state: UpdateState, numbers: dict[str, float] | None = None) -> UpdateState:
    """The pointer names the new version; it is under watch from here on."""
    _expect(state, {Phase.PROBING})
    report = UpdateReport(
        version=state.target,
        outcome=UpdateOutcome.APPLIED,
        reason=Reason.APPLIED,
        numbers=numbers or {},
    )
    changed = replace(
        state,
        phase=Phase.ACTIVE,
        version=state.target,
        reason=Reason.APPLIED,
        detail="",
        watching=True,
        num_starts=0,
    )
    return add(changed, report)


def abandon(state: UpdateState) -> UpdateState:
    """Nobody's fault (the link broke, the disk is full): forget the attempt, it may begin again."""
    _expect(state, {Phase.FETCHING, Phase.VERIFIED, Phase.STAGED, Phase.PROBING})
    return replace(state, phase=Phase.IDLE)


def refuse(state: UpdateState, target: int, reason: Reason, detail: str) -> UpdateState:
    """A manifest is not acceptable: nothing was fetched."""
    _expect(state, RESTING)
    report = UpdateReport(
        version=target, outcome=UpdateOutcome.REFUSED, reason=reason, detail=detail
    )
    changed = replace(state, phase=Phase.FAILED, target=target, reason=reason, detail=detail)
    return add(changed, report)


def fail(
    state: UpdateState, reason: Reason, detail: str, numbers: dict[str, float] | None = None
) -> UpdateState:
    """The update under way cannot be used; the version in force stays."""
    _expect(state, {Phase.FETCHING, Phase.VERIFIED, Phase.STAGED, Phase.PROBING})
    report = UpdateReport(
        version=state.target,
        outcome=UpdateOutcome.FAILED,
        reason=reason,
        detail=detail,
        numbers=numbers or {},
    )
    return add(replace(state, phase=Phase.FAILED, reason=reason, detail=detail), report)


def roll_back(state: UpdateState, to_version: int, reason: Reason, detail: str = "") -> UpdateState:
    """The pointer names `to_version` again; the version that was in force is left."""
    _expect(state, RESTING)
    report = UpdateReport(
        version=state.version, outcome=UpdateOutcome.ROLLED_BACK, reason=reason, detail=detail
    )
    changed = replace(
        state,
        phase=Phase.ROLLED_BACK,
        target=state.version,
        version=to_version,
        reason=reason,
        detail=detail,
        watching=False,
        num_starts=0,
    )
    return add(changed, report)


def trust(state: UpdateState) -> UpdateState:
    """The watch after the swap ended well."""
    return replace(state, watching=False, num_starts=0)


def alive(state: UpdateState) -> UpdateState:
    """The version under watch gave an answer since the start: it does not kill the device."""
    return replace(state, num_starts=0)


def add(state: UpdateState, report: UpdateReport) -> UpdateState:
    """`report` waits for the cloud, bounded and finite."""
    finite = {key: value for key, value in report.numbers.items() if math.isfinite(value)}
    report = replace(report, detail=report.detail[:MAX_DETAIL_CHARS], numbers=finite)
    return replace(state, reports=(*state.reports, report)[-MAX_REPORTS:])


def delivered(state: UpdateState) -> UpdateState:
    """The cloud has the oldest report."""
    return replace(state, reports=state.reports[1:])


def restart(state: UpdateState, *, pointer: int, failed: Mapping[int, Reason]) -> Restart:
    """What to do at a start, from the last state, the pointer's version and the failures."""
    if state.phase is Phase.PROBING:
        if pointer == state.target:
            # Killed after the commit point: the probe had passed. It may have failed after that,
            # at the swap, and been killed before the pointer fell back.
            return Restart(state=activate(state), roll_back=failed.get(pointer))
        reason = Reason.PROBE_INTERRUPTED
        stopped = fail(replace(state, version=pointer), reason, explain(reason))
        return Restart(state=stopped, fail=state.target)
    if state.phase not in RESTING:
        state = abandon(state)
    if pointer > state.version:
        # The state file was lost: the pointer only ever names what passed its probe.
        state = replace(state, phase=Phase.ACTIVE, version=pointer, watching=False)
    elif pointer < state.version:
        # A roll back was cut after its commit point, or a slot broke: the pointer is the truth.
        reason = failed.get(state.version, Reason.SLOT_CORRUPT)
        state = roll_back(state, pointer, reason, explain(reason))
    if pointer in failed:
        # Killed between "remembered as failed" and the pointer: finish the roll back.
        return Restart(state=state, roll_back=failed[pointer])
    if state.watching:
        state = replace(state, num_starts=state.num_starts + 1)
        if state.num_starts >= MAX_WATCHED_STARTS:
            return Restart(state=state, fail=pointer, roll_back=Reason.WATCH_ERRORS)
    return Restart(state=state)


def _expect(state: UpdateState, phases: Collection[Phase]) -> None:
    if state.phase not in phases:
        raise ValueError(f"not possible in phase {state.phase}")
