"""How long to wait before the next try: exponential, capped, with full jitter.

Delay n is uniform in 0..min(cap, first * factor^n): many devices that lost one cloud come back
spread out, not in waves (M. Brooker, "Exponential Backoff And Jitter", 2015).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass


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
