"""Work of several threads in one transaction: who comes first works for all who wait.

A commit waits for the disk; batches of other streams that came meanwhile share the next one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class _Turn(Generic[J, R]):
    """One thread's job, and its result once somebody did it."""

    def __init__(self, job: J) -> None:
        self.job = job
        self.woken = threading.Event()
        self.result: R | None = None
        self.error: BaseException | None = None
        self.is_done = False


class SharedTurns(Generic[J, R]):
    """Jobs in the order they came, at most `most` at a time, done together by one of the callers.

    `together` gives a result for each job, in order, or raises; then each job is done alone, so
    that one job's failure is its own.
    """

    def __init__(self, together: Callable[[Sequence[J]], Sequence[R]], *, most: int) -> None:
        self._together = together
        self._most = most
        self._lock = threading.Lock()
        self._queue: list[_Turn[J, R]] = []
        self._is_led = False

    def do(self, job: J) -> R:
        """The result of `job`; raises what it raised."""
        own: _Turn[J, R] = _Turn(job)
        with self._lock:
            self._queue.append(own)
            leads, self._is_led = not self._is_led, True
        if not leads:
            own.woken.wait()
        if not own.is_done:
            self._lead()
        if own.error is not None:
            raise own.error
        return own.result  # type: ignore[return-value]

    def _lead(self) -> None:
        """Do what waits, oneself first, and hand over to the next who waits."""
        with self._lock:
            turns, self._queue = self._queue[: self._most], self._queue[self._most :]
        self._work(turns)
        with self._lock:
            following = self._queue[0] if self._queue else None
            self._is_led = following is not None
        for turn in turns:
            turn.is_done = True
            turn.woken.set()
        if following is not None:
            following.woken.set()

    def _work(self, turns: Sequence[_Turn[J, R]]) -> None:
        try:
            results = self._together([turn.job for turn in turns])
        except BaseException as error:
            if len(turns) == 1:
                turns[0].error = error
                return
            for turn in turns:
                self._work([turn])
            return
        for turn, result in zip(turns, results, strict=True):
            turn.result = result
