"""When a watch fires: a state machine of one stream of answers, pure.

What is watched for lasts from the answer at which it has held `in_a_row` times until it holds no
more; it is told once. Where a cooldown or quiet hours keep it from being told, it is told at the
first answer after them if it still lasts: nothing that goes on is missed, and nothing that is over
is told late.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """`holds`: whether the answer and its uncertainty are of interest. `on_change`: told is only
    that a stream has another answer than before, `in_a_row` times, and that one is of interest.
    """

    holds: Callable[[str, float], bool]
    on_change: bool = False
    in_a_row: int = 1
    cooldown_s: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One answer. `at_s`: wall time in seconds; `quiet`: nothing may be told now."""

    answer: str
    uncertainty: float
    at_s: float
    quiet: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Of one stream. `run`: answers in a row that hold, or with `on_change` that are the same, up
    to `in_a_row`; `last`: the newest answer. `told`: whether what lasts was told. `settled`: with
    `on_change`, the answer to differ from. `fired_s`: when it fired last.
    """

    run: int = 0
    last: str | None = None
    told: bool = False
    settled: str | None = None
    fired_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Firing:
    """That it fired. `before`: with `on_change`, the answer that it was."""

    num_in_a_row: int
    before: str | None = None


def step(rule: Rule, state: State, seen: Seen) -> tuple[State, Firing | None]:
    """The state after `seen`, and whether the watch fires at it."""
    return _changed(rule, state, seen) if rule.on_change else _held(rule, state, seen)


def _held(rule: Rule, state: State, seen: Seen) -> tuple[State, Firing | None]:
    if not rule.holds(seen.answer, seen.uncertainty):
        return replace(state, run=0, told=False, last=seen.answer), None
    run = min(state.run + 1, rule.in_a_row)
    state = replace(state, run=run, last=seen.answer)
    if run < rule.in_a_row or state.told or _is_kept_back(rule, state, seen):
        return state, None
    return replace(state, told=True, fired_s=seen.at_s), Firing(num_in_a_row=run)


def _changed(rule: Rule, state: State, seen: Seen) -> tuple[State, Firing | None]:
    run = min(state.run + 1, rule.in_a_row) if seen.answer == state.last else 1
    state = replace(state, run=run, last=seen.answer)
    if run < rule.in_a_row or seen.answer == state.settled:
        return state, None
    before = state.settled
    if before is None or not rule.holds(seen.answer, seen.uncertainty):
        return replace(state, settled=seen.answer), None
    if _is_kept_back(rule, state, seen):
        return state, None
    fired = replace(state, settled=seen.answer, fired_s=seen.at_s)
    return fired, Firing(num_in_a_row=run, before=before)


def _is_kept_back(rule: Rule, state: State, seen: Seen) -> bool:
    if seen.quiet:
        return True
    if state.fired_s is None:
        return False
    # A clock that was set back must not silence a watch for as long.
    return 0.0 <= seen.at_s - state.fired_s < rule.cooldown_s
