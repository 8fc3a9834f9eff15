"""A clock that moves only when somebody waits on it."""

from __future__ import annotations

import threading


class FakeClock:
    """Waiting moves the time at once; `waits` are the seconds asked for, in order."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._start_s = now_s
        self._passed_s = 0.0
        self.waits: list[float] = []

    def now_s(self) -> float:
        return self._start_s + self._passed_s

    def monotonic_s(self) -> float:
        return self._passed_s

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._passed_s += seconds

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.waits.append(seconds)
            self._passed_s += max(0.0, seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if event.is_set():
            return True
        self.sleep(seconds)
        # Real threads set events: give them a moment, so a fake wait is not a busy loop.
        return event.wait(0.001)
