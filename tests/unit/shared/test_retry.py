"""Delays grow, stay below their cap, are and are spread."""

from __future__ import annotations

import random
from itertools import islice

from driftline_shared.retry import Backoff, delays


def test_delays_grow_to_the_cap_with_full_jitter() -> None:
    backoff = Backoff(first_s=1.0, factor=2.0, cap_s=8.0, floor_s=0.0)
    runs = [list(islice(delays(backoff, random.Random(seed)), 6)) for seed in range(200)]
    for limit, column in zip([1, 2, 4, 8, 8, 8], zip(*runs, strict=True), strict=True):
        assert 0.9 * limit < max(column) <= limit
        assert min(column) < 0.1 * limit


def test_the_floor_holds() -> None:
    backoff = Backoff(first_s=0.001, cap_s=0.002, floor_s=0.5)
    assert list(islice(delays(backoff, random.Random(1)), 3)) == [0.5] * 3
