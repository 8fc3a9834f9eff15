"""Delays grow, stay below their cap, are spread, and end in time."""

from __future__ import annotations

import random
import threading
from itertools import islice

from driftline_shared.retry import Backoff, attempts, delays
from tests.fakes.clock import FakeClock


def test_delays_grow_to_the_cap_with_full_jitter() -> None:
    backoff = Backoff(first_s=1.0, factor=2.0, cap_s=8.0, floor_s=0.0)
    runs = [list(islice(delays(backoff, random.Random(seed)), 6)) for seed in range(200)]
    for limit, column in zip([1, 2, 4, 8, 8, 8], zip(*runs, strict=True), strict=True):
        assert 0.9 * limit < max(column) <= limit
        assert min(column) < 0.1 * limit


def test_the_floor_holds() -> None:
    backoff = Backoff(first_s=0.001, cap_s=0.002, floor_s=0.5)
    assert list(islice(delays(backoff, random.Random(1)), 3)) == [0.5] * 3


def test_attempts_end_at_the_deadline() -> None:
    clock = FakeClock()
    backoff = Backoff(first_s=1.0, cap_s=1.0, floor_s=1.0)
    numbers = list(
        attempts(backoff, random.Random(1), clock, deadline_s=3.5, stop=threading.Event())
    )
    assert numbers == [0, 1, 2, 3]
    assert clock.waits == [1.0] * 3


def test_there_is_always_a_first_attempt() -> None:
    stop = threading.Event()
    clock = FakeClock()
    tries = attempts(Backoff(), random.Random(1), clock, deadline_s=-1.0, stop=stop)
    assert list(tries) == [0]


def test_stop_ends_attempts() -> None:
    stop = threading.Event()
    tries = attempts(Backoff(), random.Random(1), FakeClock(), deadline_s=1e9, stop=stop)
    assert next(tries) == 0
    stop.set()
    assert list(tries) == []
