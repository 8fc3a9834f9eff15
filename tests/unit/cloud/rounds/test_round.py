"""The state machine of a round: only legal moves, always an end, nothing lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.rounds.round import (
    FINAL_STATES,
    TRANSITIONS,
    RetryLimits,
    Round,
    RoundState,
    advance,
    begin,
    derive_seed,
    is_exhausted,
    new_round,
    record_error,
)

NOW_S = 1_700_000_000.0
_STATES = st.sampled_from(list(RoundState))


def _round() -> Round:
    return new_round(
        line="tiny-abc",
        number=3,
        base_seed=0,
        num_samples=256,
        base_version=2,
        trigger="count",
        now_unix_s=NOW_S,
    )


@given(st.lists(_STATES, max_size=30))
def test_only_the_table_moves_a_round(wanted: list[RoundState]) -> None:
    round_ = _round()
    for to in wanted:
        if to in TRANSITIONS[round_.state]:
            round_ = advance(round_, to, now_unix_s=NOW_S)
            assert round_.state is to
        else:
            with pytest.raises(ValueError, match="may not become"):
                advance(round_, to, now_unix_s=NOW_S)


def test_every_state_is_reached_and_every_open_one_may_fail() -> None:
    reached, edge = {RoundState.SNAPSHOT}, [RoundState.SNAPSHOT]
    while edge:
        for to in TRANSITIONS[edge.pop()] - reached:
            reached.add(to)
            edge.append(to)
    assert reached == set(RoundState) == set(TRANSITIONS)
    assert {RoundState.DONE, RoundState.REJECTED, RoundState.FAILED} == FINAL_STATES
    for state, after in TRANSITIONS.items():
        assert (RoundState.FAILED in after) == (state not in FINAL_STATES)


@given(st.data())
def test_every_walk_ends_without_a_loop(data: st.DataObject) -> None:
    round_, seen = _round(), []
    while round_.is_open:
        assert round_.state not in seen
        seen.append(round_.state)
        to = data.draw(st.sampled_from(sorted(TRANSITIONS[round_.state])))
        round_ = advance(round_, to, now_unix_s=NOW_S)
    assert round_.state in FINAL_STATES


@given(st.lists(st.sampled_from(["begin", "error", "next"]), max_size=60))
def test_counts_are_bounded_and_reset_by_progress(events: list[str]) -> None:
    limits = RetryLimits(max_errors=3, max_starts=5, backoff_s=2.0, max_backoff_s=3.0)
    round_ = _round()
    for event in events:
        if not round_.is_open:
            break
        if event == "begin" and not is_exhausted(round_, limits):
            round_ = begin(round_, now_unix_s=NOW_S)
        elif event == "error":
            round_ = record_error(round_, "broken", limits=limits, now_unix_s=NOW_S)
            if round_.is_open:
                assert NOW_S < round_.not_before_unix_s <= NOW_S + limits.max_backoff_s
        elif event == "next":
            before = round_.state
            to = next(s for s in RoundState if s in TRANSITIONS[before] - {RoundState.FAILED})
            round_ = advance(round_, to, now_unix_s=NOW_S)
            assert (round_.num_starts, round_.num_errors) == (0, 0)
            assert round_.not_before_unix_s == 0.0
        assert round_.num_errors < limits.max_errors
        assert round_.num_starts <= limits.max_starts


def test_errors_back_off_and_then_fail_with_the_cause() -> None:
    limits = RetryLimits(max_errors=3, backoff_s=2.0, max_backoff_s=60.0)
    round_, waits = _round(), []
    while round_.is_open:
        round_ = record_error(round_, "no worker", limits=limits, now_unix_s=NOW_S)
        waits.append(round_.not_before_unix_s - NOW_S if round_.is_open else None)
    assert waits == [2.0, 4.0, None]
    assert (round_.state, round_.reason) == (RoundState.FAILED, "no worker")
    with pytest.raises(ValueError, match="over"):
        record_error(round_, "again", limits=limits, now_unix_s=NOW_S)


def test_a_permanent_error_fails_at_once() -> None:
    round_ = record_error(
        _round(), "bad pair", limits=RetryLimits(), now_unix_s=NOW_S, permanent=True
    )
    assert round_.state is RoundState.FAILED


def test_what_went_wrong_in_a_state_that_ended_well_is_over() -> None:
    limits = RetryLimits()
    round_ = record_error(_round(), "the worker died", limits=limits, now_unix_s=NOW_S)
    assert (round_.reason, round_.trigger) == ("the worker died", "count")
    round_ = advance(round_, RoundState.LABELLING, now_unix_s=NOW_S)
    assert (round_.reason, round_.num_errors) == ("count", 0)
    failed = advance(round_, RoundState.FAILED, now_unix_s=NOW_S, reason="no worker left")
    assert (failed.reason, failed.trigger) == ("no worker left", "count")


def test_numbers_add_up_over_states() -> None:
    round_ = advance(_round(), RoundState.LABELLING, now_unix_s=NOW_S, numbers={"a": 1.0})
    round_ = advance(round_, RoundState.DISTILLING, now_unix_s=NOW_S, numbers={"b": 2.0})
    assert round_.numbers == {"a": 1.0, "b": 2.0}
    assert round_.reason == "count"


@given(st.integers(0, 10), st.integers(1, 10_000))
def test_id_and_seed_follow_from_line_number_and_base_seed(base_seed: int, number: int) -> None:
    def make(line: str, seed: int) -> Round:
        return new_round(
            line=line,
            number=number,
            base_seed=seed,
            num_samples=1,
            base_version=0,
            trigger="age",
            now_unix_s=NOW_S,
        )

    assert make("a", base_seed) == make("a", base_seed)
    assert make("a", base_seed).id != make("b", base_seed).id
    assert make("a", base_seed).seed != make("a", base_seed + 1).seed
    assert 0 <= derive_seed("x", base_seed, number) < 2**31
