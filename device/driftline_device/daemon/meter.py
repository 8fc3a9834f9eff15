"""What the device has answered, counted: in all, in a rolling window, and by domain.

Truth is used here, for scoring, and goes no further.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections import deque
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainCounts:
    """Answers in one domain; `num_scored`: those whose truth is known."""

    num_answered: int = 0
    num_scored: int = 0
    num_correct: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class MeterReading:
    """`accuracy` and `uncertainty` are over the window; None where nothing is known."""

    num_answered: int
    num_errors: int
    domain: str | None
    accuracy: float | None
    uncertainty: float | None
    domains: dict[str, DomainCounts]

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Counts by domain as plain values."""
        return {name: asdict(counts) for name, counts in self.domains.items()}


class Meter:
    """Fed by the thread that answers, read by any."""

    def __init__(self, window: int) -> None:
        self._lock = threading.Lock()
        self._correct: deque[bool] = deque(maxlen=window)
        self._uncertainty: deque[float] = deque(maxlen=window)
        self._domains: dict[str, DomainCounts] = {}
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
            old = self._domains.get(domain, DomainCounts())
            self._domains[domain] = DomainCounts(
                num_answered=old.num_answered + 1,
                num_scored=old.num_scored + (correct is not None),
                num_correct=old.num_correct + bool(correct),
            )

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
                domains=dict(self._domains),
            )


def _mean(values: deque[bool] | deque[float]) -> float | None:
    return statistics.fmean(values) if values else None
