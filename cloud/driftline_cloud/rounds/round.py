"""A round as a value: its states, which may follow which, and what each change records.

    snapshot -> labelling -> distilling -> gating -> compressing -> releasing -> done
                                  |         ^ |           |
                                  grouping -+ +-----------+--> rejected
    any open state -> failed

`snapshot` splits the claimed samples, `labelling` asks the teacher, `distilling` trains the
candidate, `grouping`, where devices differ, asks whether groups of them would do better with
adapters of their own, `gating` judges it, `compressing` finds the smallest update that still
passes, `releasing` publishes it. Nothing here waits, reads a clock or touches a disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from driftline_shared.program.section import Section, setting


class RoundState(StrEnum):
    """Where a round is; the value is what the store, the protocol and the logs say."""

    SNAPSHOT = "snapshot"
    LABELLING = "labelling"
    DISTILLING = "distilling"
    GROUPING = "grouping"
    GATING = "gating"
    COMPRESSING = "compressing"
    RELEASING = "releasing"
    DONE = "done"
    REJECTED = "rejected"
    FAILED = "failed"


TRANSITIONS: Mapping[RoundState, frozenset[RoundState]] = {
    RoundState.SNAPSHOT: frozenset({RoundState.LABELLING, RoundState.FAILED}),
    RoundState.LABELLING: frozenset({RoundState.DISTILLING, RoundState.FAILED}),
    RoundState.DISTILLING: frozenset({RoundState.GROUPING, RoundState.GATING, RoundState.FAILED}),
    RoundState.GROUPING: frozenset({RoundState.GATING, RoundState.FAILED}),
    RoundState.GATING: frozenset({RoundState.COMPRESSING, RoundState.REJECTED, RoundState.FAILED}),
    RoundState.COMPRESSING: frozenset(
        {RoundState.RELEASING, RoundState.REJECTED, RoundState.FAILED}
    ),
    RoundState.RELEASING: frozenset({RoundState.DONE, RoundState.FAILED}),
    RoundState.DONE: frozenset(),
    RoundState.REJECTED: frozenset(),
    RoundState.FAILED: frozenset(),
}

FINAL_STATES = frozenset(state for state, after in TRANSITIONS.items() if not after)
OPEN_STATES = frozenset(TRANSITIONS) - FINAL_STATES


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One pass from waiting samples to a version (or to a reason why not).

    `number`: counts the rounds of a line from 1. `num_starts`: times the present state was started
    (a killed cloud counts too). `num_errors`: times it raised. `not_before_unix_s`: back-off.
    `numbers`: what was measured so far, by name. `trigger`: why it was started. `reason`: why it
    ended as it did, or what went wrong in the present state; else its trigger. `created_unix_s` is
    the one time that reaches a release, so that a resumed round releases the same bytes.
    """

    id: str
    line: str
    number: int
    seed: int
    state: RoundState = RoundState.SNAPSHOT
    num_samples: int = 0
    base_version: int = 0
    target_version: int = 0
    numbers: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    num_starts: int = 0
    num_errors: int = 0
    created_unix_s: int = 0
    changed_unix_s: int = 0
    not_before_unix_s: float = 0.0
    trigger: str = ""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES


def new_round(
    *,
    line: str,
    number: int,
    base_seed: int,
    num_samples: int,
    base_version: int,
    trigger: str,
    now_unix_s: float,
) -> Round:
    """The round `number` of `line`; id and seed follow from line, number and the cloud's seed."""
    return Round(
        id=f"{line}-r{number:04d}",
        line=line,
        number=number,
        seed=derive_seed(base_seed, line, number),
        num_samples=num_samples,
        base_version=base_version,
        target_version=base_version + 1,
        reason=trigger,
        trigger=trigger,
        created_unix_s=int(now_unix_s),
        changed_unix_s=int(now_unix_s),
    )


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2**31) that depends on every part and on nothing else."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") & 0x7FFF_FFFF


def begin(round_: Round, *, now_unix_s: float) -> Round:
    """Note that the present state is being worked on, before the work."""
    _must_be_open(round_)
    return replace(round_, num_starts=round_.num_starts + 1, changed_unix_s=int(now_unix_s))


def advance(
    round_: Round,
    to: RoundState,
    *,
    now_unix_s: float,
    reason: str | None = None,
    numbers: Mapping[str, float] | None = None,
) -> Round:
    """Move to the state `to`; ValueError if the table does not allow it.

    Without a `reason` it is the trigger again: what went wrong in a state that ended well is over.
    """
    if to not in TRANSITIONS[round_.state]:
        raise ValueError(f"round {round_.id}: {round_.state} may not become {to}")
    return replace(
        round_,
        state=to,
        reason=round_.trigger if reason is None else reason,
        numbers={**round_.numbers, **(numbers or {})},
        num_starts=0,
        num_errors=0,
        not_before_unix_s=0.0,
        changed_unix_s=int(now_unix_s),
    )


class RetryLimits(Section):
    """How often a state may go wrong; work that kills the whole process does not do so for ever."""

    max_errors: int = setting(3, "errors of one state before the round fails")
    max_starts: int = setting(12, "starts of one state, kills included")
    backoff_s: float = setting(2.0, "before the second try; doubles")
    max_backoff_s: float = setting(60.0, "most of it")


def record_error(
    round_: Round, cause: str, *, limits: RetryLimits, now_unix_s: float, permanent: bool = False
) -> Round:
    """The round after its present state raised: the same state later, or `failed`."""
    _must_be_open(round_)
    num_errors = round_.num_errors + 1
    if permanent or num_errors >= limits.max_errors:
        return advance(round_, RoundState.FAILED, now_unix_s=now_unix_s, reason=cause)
    wait_s = min(limits.backoff_s * 2 ** (num_errors - 1), limits.max_backoff_s)
    return replace(
        round_,
        num_errors=num_errors,
        reason=cause,
        not_before_unix_s=now_unix_s + wait_s,
        changed_unix_s=int(now_unix_s),
    )


def is_exhausted(round_: Round, limits: RetryLimits) -> bool:
    """Whether the present state was started so often that starting it again is no use."""
    return round_.num_starts >= limits.max_starts


def _must_be_open(round_: Round) -> None:
    if not round_.is_open:
        raise ValueError(f"round {round_.id} is over: {round_.state}")
