"""Culprits are found however many there are; a failure of everything is nobody's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.rounds.culprits import find_culprits
from driftline_shared.errors import PairError, SampleError


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=n - 1))
    )
)
def test_exactly_the_bad_ones_are_found_and_the_others_are_worked_on(
    case: tuple[int, set[int]],
) -> None:
    count, bad = case
    done: set[int] = set()

    def attempt(items: Sequence[int]) -> None:
        if bad & set(items):
            raise SampleError("bad")
        done.update(items)

    found = find_culprits(range(count), attempt)
    assert {item for item, _ in found} == bad
    assert done == set(range(count)) - bad


def _fails_on(bad: set[int]):
    def attempt(items: Sequence[int]) -> None:
        if bad & set(items):
            raise IndexError("out of bounds")

    return attempt


def test_an_error_of_any_kind_is_the_items_if_others_succeed() -> None:
    found = find_culprits(range(32), _fails_on({0, 31}))
    assert [item for item, _ in found] == [0, 31]


def test_a_failure_of_everything_is_no_items() -> None:
    calls: list[int] = []

    def down(items: Sequence[int]) -> None:
        calls.append(len(items))
        raise RuntimeError("the cluster is away")

    with pytest.raises(RuntimeError, match="away"):
        find_culprits(range(256), down)
    assert len(calls) < 50
    with pytest.raises(RuntimeError, match="away"):
        find_culprits([1], down)


def test_a_cluster_that_goes_away_during_the_search_costs_nobody() -> None:
    calls: list[int] = []

    def attempt(items: Sequence[int]) -> None:
        calls.append(len(items))
        if len(calls) > 6 or 3 in items:
            raise RuntimeError("the worker died")

    with pytest.raises(RuntimeError):
        find_culprits(range(8), attempt)


def test_with_a_control_even_all_items_may_be_bad() -> None:
    found = find_culprits([1, 2], _fails_on({1, 2}), control=lambda _: None)
    assert [item for item, _ in found] == [1, 2]

    def fails(_: Sequence[int]) -> None:
        raise RuntimeError

    with pytest.raises(IndexError):
        find_culprits([1, 2], _fails_on({1, 2}), control=fails)


def test_a_failure_that_does_not_come_back_is_nobodys() -> None:
    failures = [MemoryError(), MemoryError(), MemoryError()]

    def attempt(_: Sequence[int]) -> None:
        if failures:
            raise failures.pop()

    assert find_culprits(range(4), attempt) == []


def test_a_fault_of_the_set_up_ends_the_search_at_once() -> None:
    calls: list[int] = []

    def attempt(items: Sequence[int]) -> None:
        calls.append(len(items))
        raise PairError("no teacher")

    with pytest.raises(PairError):
        find_culprits(range(64), attempt)
    assert calls == [64]
