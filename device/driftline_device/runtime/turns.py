"""Turns at something scarce, above all at the model: first come, first served.

A plain lock is unfair: a loop that answers without a break would starve the thread that probes an
update. Here a waiting thread gets the next turn, so a probe of many small steps and a stream of
requests alternate, and no request waits for more than one step.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import islice
from types import TracebackType


class Turns:
    """A fair semaphore, used as a context manager; not reentrant. `places`: turns at a time."""

    def __init__(self, places: int = 1) -> None:
        self._condition = threading.Condition()
        self._places = places
        # Threads, those in their turn first.
        self._line: deque[int] = deque()
        self._num_done = 0

    @property
    def num_done(self) -> int:
        """Turns that have ended."""
        return self._num_done

    @property
    def is_free(self) -> bool:
        """Whether nobody has a turn or waits for one."""
        return not self._line

    def __enter__(self) -> float:
        """Wait for a turn; seconds waited."""
        thread, start_s = threading.get_ident(), time.perf_counter()
        with self._condition:
            self._line.append(thread)
            # Ends when those in front are done; each of their turns is one bounded model call.
            self._condition.wait_for(lambda: thread in islice(self._line, self._places))
        return time.perf_counter() - start_s

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._condition:
            self._line.remove(threading.get_ident())
            self._num_done += 1
            self._condition.notify_all()
