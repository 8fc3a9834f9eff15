"""Turns at something scarce, above all at the model: first come, first served.

A plain lock is unfair: a loop that answers without a break would starve the thread that probes an
update. Here a waiting thread gets the next turn, so a probe of many small steps and a stream of
requests alternate, and no request waits for more than one step.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class Turns:
    """A fair semaphore, used as a context manager; not reentrant. `places`: turns at a time."""

    def __init__(self, places: int = 1) -> None:
        self._lock = threading.Lock()
        self._places = self._num_free = places
        # A locked lock for each thread that waits; a turn that ends unlocks the first.
        self._waiting: deque[threading.Lock] = deque()
        self._num_done = 0

    @property
    def num_done(self) -> int:
        """Turns that have ended."""
        return self._num_done

    @property
    def is_free(self) -> bool:
        """Whether nobody has a turn or waits for one."""
        return self._num_free == self._places

    def __enter__(self) -> float:
        """Wait for a turn; seconds waited."""
        return self._take()

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """The next turn that ends, before all who wait: for what takes microseconds."""
        self._take(ahead=True)
        try:
            yield
        finally:
            self._end()

    def _take(self, *, ahead: bool = False) -> float:
        start_s = time.perf_counter()
        with self._lock:
            if self._num_free:
                self._num_free -= 1
                return 0.0
            mine = threading.Lock()
            mine.acquire()
            (self._waiting.appendleft if ahead else self._waiting.append)(mine)
        # Ends when those in front are done; each of their turns is one bounded model call.
        mine.acquire()
        return time.perf_counter() - start_s

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._num_done += 1
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._num_free += 1
