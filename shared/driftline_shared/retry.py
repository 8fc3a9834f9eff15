"""How long to wait before the next try: exponential, capped, with full jitter.

Delay n is uniform in 0..min(cap, first * factor^n): many devices that lost one cloud come back
spread out, not in waves (M. Brooker, "Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from driftline_shared.clock import Clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Seconds; `floor_s` keeps a lucky row of small draws from becoming a busy loop."""

    first_s: float = 0.5
    factor: float = 2.0
    cap_s: float = 60.0
    floor_s: float = 0.05


def delays(backoff: Backoff, rng: random.Random) -> Iterator[float]:
    """Seconds to wait before try 2, 3, ...; never ends."""
    limit_s = backoff.first_s
    while True:
        yield max(backoff.floor_s, rng.uniform(0.0, limit_s))
        limit_s = min(backoff.cap_s, limit_s * backoff.factor)


def attempts(
    backoff: Backoff,
    rng: random.Random,
    clock: Clock,
    *,
    deadline_s: float,
    stop: threading.Event,
) -> Iterator[int]:
    """Number tries 0, 1, 2, ... with a wait between two; ends when stopped or out of time.

    `deadline_s` is on the monotonic clock. There is always a first try, and none that would begin
    after the deadline.
    """
    yield 0
    for number, delay_s in enumerate(delays(backoff, rng), start=1):
        if clock.monotonic_s() + delay_s > deadline_s or clock.wait(stop, delay_s):
            return
        yield number
