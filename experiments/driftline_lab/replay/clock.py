"""The virtual clock: time passes when the replay says so, and events happen on the way.

`sleep` and `wait` do what they say in virtual time: they run every event that is due before the
sleeper wakes. So real code that waits (a download that takes a minute on a slow link) stands
still while the device goes on answering, as its thread would, and no thread is needed. The price:
whoever sleeps inside an event of another sleeper wakes first. A replay has one sleeper at a time,
the device's updates.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from driftline_lab.replay.queue import Action, EventQueue
from driftline_shared.callbacks import ignore

OnAdvance = Callable[[float], None]
"""Called with the seconds since the start, each time that time has moved on."""


class VirtualClock:
    """The `Clock` protocol over an event queue. `start_unix_s`: the wall time at the start."""

    def __init__(self, start_unix_s: float, *, on_advance: OnAdvance = ignore) -> None:
        self.start_unix_s = start_unix_s
        self._passed_s = 0.0
        self._queue = EventQueue()
        self._on_advance = on_advance

    def now_s(self) -> float:
        """Virtual seconds since 1970."""
        return self.start_unix_s + self._passed_s

    def monotonic_s(self) -> float:
        """Virtual seconds since the start."""
        return self._passed_s

    def sleep(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass, with the events that are due meanwhile."""
        self.run_until(self._passed_s + max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Let events happen until one of them sets `event`, at most for `seconds`."""
        end_s = self._passed_s + max(0.0, seconds)
        while not event.is_set() and self._take_one(end_s):
            pass
        if not event.is_set():
            self._advance(end_s)
        return event.is_set()

    def at(self, at_s: float, action: Action, *, rank: int = 0) -> None:
        """`action` happens at `at_s` seconds since the start, now if that is past; see `put`."""
        self._queue.put(max(at_s, self._passed_s), action, rank=rank)

    def after(self, seconds: float, action: Action, *, rank: int = 0) -> None:
        """`action` happens in `seconds`."""
        self.at(self._passed_s + seconds, action, rank=rank)

    def run_until(self, end_s: float) -> None:
        """Let everything happen that is due up to `end_s`, and end there."""
        while self._take_one(end_s):
            pass
        self._advance(end_s)

    def run_while(self, wanted: Callable[[], bool], *, end_s: float) -> bool:
        """Let events happen as long as `wanted` says so, up to `end_s`; whether it stopped so."""
        while wanted():
            if not self._take_one(end_s):
                return False
        return True

    def _take_one(self, end_s: float) -> bool:
        next_s = self._queue.next_s()
        if next_s is None or next_s > end_s:
            return False
        self._advance(next_s)
        self._queue.pop()()
        return True

    def _advance(self, to_s: float) -> None:
        if to_s > self._passed_s:
            self._passed_s = to_s
            self._on_advance(to_s)
