"""Turns: first come, first served, as many at a time as there are places."""

from __future__ import annotations

import threading

import pytest

from driftline_device.runtime.turns import Turns
from tests.fakes.waiting import until


@pytest.mark.parametrize("places", [1, 2, 3])
def test_turns_are_fair(places: int) -> None:
    turns, order = Turns(places), []
    ends = [threading.Event() for _ in range(6)]

    def take(number: int) -> None:
        with turns:
            order.append(number)
            assert ends[number].wait(30.0)

    threads = []
    for number in range(len(ends)):
        threads.append(threading.Thread(target=take, args=(number,)))
        threads[-1].start()
        until(lambda: turns._places - turns._num_free + len(turns._waiting) == len(threads))
    # Whoever ends, the next in line goes on, and nobody else.
    for num_ended, number in enumerate([places - 1, *(n for n in range(6) if n != places - 1)]):
        until(lambda n=num_ended: len(order) == min(places + n, 6))
        assert set(order) == set(range(len(order)))
        ends[number].set()
        until(lambda n=num_ended: turns.num_done == n + 1)
    for thread in threads:
        thread.join(5.0)
    assert turns.is_free


def test_a_turn_ends_with_an_error() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="inside"), turns:
        raise ValueError("inside")
    assert turns.is_free


def test_who_goes_ahead_has_the_next_turn() -> None:
    turns, order, threads = Turns(), [], []

    def take(name: str) -> None:
        with turns.ahead() if name == "ahead" else turns:
            order.append(name)

    with turns:
        for name in ("first", "second", "ahead"):
            threads.append(threading.Thread(target=take, args=(name,)))
            threads[-1].start()
            until(lambda: len(turns._waiting) == len(threads))
    for thread in threads:
        thread.join(5.0)
    assert order == ["ahead", "first", "second"]
    assert turns.is_free
