"""How often devices may ask for updates: the larger the fleet, the less often each.

A Check costs half a millisecond of a processor, so devices that all ask every five seconds fill one
at some two thousand. The reply to each tells it when to come again; nobody is turned away.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LEAST_WINDOW_S = 60.0
MOST_S = 3_600
"""No device is told to stay away for longer."""

_WINDOW_TURNS = 2.5
"""A window is so many times what devices were told to wait: each asks at least twice in it."""

_MOST_COUNTED = 1_000_000
"""Ids in memory; more are not told apart."""


class Asking:
    """Who asked lately, and how long each may wait. Used from one event loop.

    Devices are counted by windows: as many as asked in the last whole one, or already in this one.
    Each may ask again after `devices / per_s` seconds. `per_s`: questions a second; 0: any number.
    """

    def __init__(self, per_s: float, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._monotonic_s = per_s, monotonic_s
        self._asked: set[str] = set()
        self._before = 0
        self._ends_s = monotonic_s() + LEAST_WINDOW_S

    def ask_after_s(self, device_id: str) -> int:
        """Whole seconds until this device, which asks now, may ask again; 0: when it likes."""
        if self._per_s == 0:
            return 0
        now_s = self._monotonic_s()
        if now_s >= self._ends_s:
            self._before = len(self._asked)
            self._asked.clear()
            self._ends_s = now_s + max(LEAST_WINDOW_S, _WINDOW_TURNS * self._wait_s())
        if len(self._asked) < _MOST_COUNTED:
            self._asked.add(device_id)
        wait_s = self._wait_s()
        # Up to a second every device may wait what it likes: not a byte is spent on telling it.
        return min(MOST_S, math.ceil(wait_s)) if wait_s > 1.0 else 0

    def _wait_s(self) -> float:
        return max(self._before, len(self._asked)) / self._per_s
