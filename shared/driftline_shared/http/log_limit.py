"""Log lines that strangers can cause: the first at once, then at most one in a while."""

from __future__ import annotations

import time
from collections.abc import Callable

LOG_EVERY_S = 60.0


class LogLimit:
    """Says whether a line may be written now; `every_s` seconds between two."""

    def __init__(
        self, every_s: float = LOG_EVERY_S, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._every_s = every_s
        self._monotonic_s = monotonic_s
        self._due_s = float("-inf")
        self._num_left_out = 0

    def allow(self) -> int | None:
        """How many were left out since the line before; None: this one is left out, too."""
        now_s = self._monotonic_s()
        if now_s < self._due_s:
            self._num_left_out += 1
            return None
        self._due_s = now_s + self._every_s
        left_out, self._num_left_out = self._num_left_out, 0
        return left_out
