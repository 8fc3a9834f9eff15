"""Counts of the link, written by its threads and read by anybody."""

from __future__ import annotations

import threading
from collections import Counter

from driftline_shared.errors import DriftlineError


class Counters:
    """Named sums, and the last error in words."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: Counter[str] = Counter()
        self._last_error = ""

    def add(self, **changes: int) -> None:
        """Add to the named sums."""
        with self._lock:
            self._sums.update(changes)

    def note(self, error: DriftlineError) -> None:
        """Keep `error` as the last one."""
        with self._lock:
            self._last_error = f"{error.reason}: {error}"

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._sums[name]

    @property
    def last_error(self) -> str:
        """Code and text of the last failure, or nothing."""
        with self._lock:
            return self._last_error
