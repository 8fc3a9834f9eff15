"""What the device has answered, counted: in all, in a rolling window, and by domain.

Truth is used here, for scoring, and goes no further.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections import deque
from dataclasses import dataclass

COUNTS = ("num_answered", "num_scored", "num_correct")
"""Of answers in one domain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeterReading:
    """`accuracy` and `uncertainty` are over the window; None where nothing is known. `domains`:
    num_answered, num_scored (those whose truth is known) and num_correct of each.
    """

    num_answered: int
    num_errors: int
    domain: str | None
    accuracy: float | None
    uncertainty: float | None
    domains: dict[str, dict[str, int]]


class Meter:
    """Fed by the thread that answers, read by any."""

    def __init__(self, window: int) -> None:
        self._lock = threading.Lock()
        self._correct: deque[bool] = deque(maxlen=window)
        self._uncertainty: deque[float] = deque(maxlen=window)
        self._domains: dict[str, dict[str, int]] = {}
        self._domain: str | None = None
        self._num_answered = 0
        self._num_errors = 0

    def answered(self, *, domain: str, correct: bool | None, uncertainty: float) -> None:
        """One more answer; `correct` is None where no truth is known."""
        with self._lock:
            self._num_answered += 1
            self._domain = domain
            if math.isfinite(uncertainty):
                self._uncertainty.append(uncertainty)
            if correct is not None:
                self._correct.append(correct)
            counts = self._domains.setdefault(domain, dict.fromkeys(COUNTS, 0))
            changes = (1, correct is not None, bool(correct))
            for name, change in zip(COUNTS, changes, strict=True):
                counts[name] += change

    def errored(self) -> None:
        """A question that got no answer."""
        with self._lock:
            self._num_errors += 1

    def new_segment(self, domain: str) -> None:
        """The window starts anew, so that a number belongs to one segment."""
        with self._lock:
            self._domain = domain
            self._correct.clear()
            self._uncertainty.clear()

    def read(self) -> MeterReading:
        """All counts at one moment."""
        with self._lock:
            return MeterReading(
                num_answered=self._num_answered,
                num_errors=self._num_errors,
                domain=self._domain,
                accuracy=_mean(self._correct),
                uncertainty=_mean(self._uncertainty),
                domains={name: dict(counts) for name, counts in self._domains.items()},
            )


def _mean(values: deque[bool] | deque[float]) -> float | None:
    return statistics.fmean(values) if values else None
