"""Counts of the link, written by its threads and read by anybody."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection

from driftline_shared.errors import DriftlineError


class Counters:
    """Named sums, and in words what fails now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: Counter[str] = Counter()
        self._errors: dict[str, str] = {}

    def add(self, **changes: int) -> None:
        """Add to the named sums."""
        with self._lock:
            self._sums.update(changes)

    def note(self, who: str, error: DriftlineError) -> None:
        """`who` has failed, newest of all."""
        with self._lock:
            self._errors.pop(who, None)
            self._errors[who] = f"{error.reason}: {error}"

    def works(self, *who: str) -> None:
        """What failed for them is over."""
        with self._lock:
            for each in who:
                self._errors.pop(each, None)

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._sums[name]

    def last_error(self, *, but: Collection[str] = ()) -> str:
        """Code and text of the last failure that is not over, of others than `but`; or nothing."""
        with self._lock:
            left = [text for who, text in self._errors.items() if who not in but]
            return left[-1] if left else ""
