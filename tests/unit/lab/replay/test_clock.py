"""The virtual clock: order, sleeping while events happen, waiting for one."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from driftline_lab.replay.clock import VirtualClock


def test_time_is_what_the_replay_says() -> None:
    clock = VirtualClock(1_000.0)
    clock.run_until(2.5)
    assert (clock.now_s(), clock.monotonic_s()) == (1_002.5, 2.5)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=30))
def test_events_happen_by_moment_then_rank_then_order(events: list[tuple[int, int]]) -> None:
    clock, seen = VirtualClock(0.0), []
    for number, (at_s, rank) in enumerate(events):
        clock.at(at_s, lambda key=(at_s, rank, number): seen.append(key), rank=rank)
    clock.run_until(10.0)
    assert seen == sorted(seen) and len(seen) == len(events)


def test_a_sleeper_stands_still_while_others_go_on() -> None:
    clock, seen = VirtualClock(0.0), []

    def sleeper() -> None:
        clock.sleep(5.0)
        seen.append(("awake", clock.monotonic_s()))

    clock.at(1.0, sleeper)
    clock.at(3.0, lambda: seen.append(("other", clock.monotonic_s())))
    clock.run_until(10.0)
    assert seen == [("other", 3.0), ("awake", 6.0)]


def test_a_wait_ends_with_its_event_or_its_time() -> None:
    clock, event = VirtualClock(0.0), threading.Event()
    clock.at(2.0, event.set)
    assert not clock.wait(event, 1.0) and clock.monotonic_s() == 1.0
    assert clock.wait(event, 5.0) and clock.monotonic_s() == 2.0


def test_an_event_in_the_past_happens_now() -> None:
    clock, seen = VirtualClock(0.0), []
    clock.run_until(4.0)
    clock.at(1.0, lambda: seen.append(clock.monotonic_s()))
    clock.sleep(0.0)
    assert seen == [4.0]


def test_run_while_says_why_it_stopped() -> None:
    clock, seen = VirtualClock(0.0), []
    for at_s in (1.0, 2.0, 3.0):
        clock.at(at_s, lambda: seen.append(clock.monotonic_s()))
    assert clock.run_while(lambda: len(seen) < 2, end_s=10.0)
    assert not clock.run_while(lambda: True, end_s=10.0)
    assert seen == [1.0, 2.0, 3.0]
