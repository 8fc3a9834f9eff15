"""One line of the log for each request, at a limited rate: nobody fills a disk by asking."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from driftline_device.api.traffic.record import RequestRecord

BURST = 60
"""Lines at once, of requests answered and of those refused each."""

PER_S = 1.0
"""Lines a second in the long run, of requests answered."""

REFUSED_PER_S = 0.1
"""And of those refused."""

MOST_PATH_CHARS = 100

QUIET = frozenset({"/health", "/ready", "/metrics"})
"""Asked for every few seconds by whoever watches a device: told at level debug."""

_log = structlog.get_logger(__name__)


class Allowance:
    """A token bucket: `burst` at once, `per_s` a second in the long run."""

    def __init__(self, burst: float, per_s: float, monotonic_s: Callable[[], float]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._monotonic_s = monotonic_s
        self._left = burst
        self._at_s = monotonic_s()
        self._num_left_out = 0

    def take(self) -> int | None:
        """How many were left out since the one before; None: this one is left out, too."""
        now_s = self._monotonic_s()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1.0:
            self._num_left_out += 1
            return None
        self._left -= 1.0
        left_out, self._num_left_out = self._num_left_out, 0
        return left_out


class AccessLog:
    """Writes `api.request` lines; of questions and pictures nothing."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._answered = Allowance(BURST, PER_S, monotonic_s)
        self._refused = Allowance(BURST, REFUSED_PER_S, monotonic_s)

    def write(
        self, record: RequestRecord, *, method: str, path: str, client: str, seconds: float
    ) -> None:
        """A line, unless there were too many."""
        fields = {
            "id": record.id,
            "method": method[:20],
            "path": path[:MOST_PATH_CHARS],
            "status": record.status,
            "ms": round(seconds * 1000.0, 1),
            "client": client,
        }
        if record.code:
            fields["code"] = record.code
        is_refused = record.status >= 400
        if path in QUIET and not is_refused:
            _log.debug("api.request", **fields)
            return
        left_out = (self._refused if is_refused else self._answered).take()
        if left_out is None:
            return
        if left_out:
            fields["num_left_out"] = left_out
        _log.info("api.request", **fields)
