"""Turns at the model: one user at a time, first come first served.

A plain lock is unfair: a loop that answers without a break would starve the thread that probes an
update. Here a waiting thread gets the next turn, so a probe of many small steps and a stream of
requests alternate, and no request waits for more than one step.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType


class Turns:
    """A fair lock, used as a context manager; not reentrant."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: deque[object] = deque()
        self._num_done = 0

    @property
    def num_done(self) -> int:
        """Turns that have ended."""
        return self._num_done

    @property
    def is_free(self) -> bool:
        """Whether nobody is at the model."""
        return not self._waiting

    def __enter__(self) -> None:
        ticket = object()
        with self._condition:
            self._waiting.append(ticket)
            # Ends when those in front are done; each of their turns is one bounded model call.
            self._condition.wait_for(lambda: self._waiting[0] is ticket)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._condition:
            self._waiting.popleft()
            self._num_done += 1
            self._condition.notify_all()
