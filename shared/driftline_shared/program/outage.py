"""What keeps a loop from going on, in the log: when it comes, when its cause changes, once an hour
while it lasts, and once when it is over.

A loop that goes up and down is bounded by `repeats.py`, whose `ENDS` knows the two events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from driftline_shared.program.repeats import EVERY_S

_log = structlog.get_logger(__name__)


class Outage:
    """The trouble of one loop, from any thread. `begins` and `ends`: the events; `fields`: of each
    line.
    """

    def __init__(
        self,
        begins: str,
        ends: str,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        **fields: object,
    ) -> None:
        self._begins, self._ends = begins, ends
        self._monotonic_s = monotonic_s
        self._fields = fields
        self._lock = threading.Lock()
        self._told = ""
        self._told_s = 0.0

    @property
    def trouble(self) -> str:
        """What it is and what to do; empty: nothing."""
        return self._told

    def came(
        self, cause: str, fix: str, *, error: BaseException | None = None, **detail: object
    ) -> None:
        """The loop failed of `cause`. `error`: the log shows its traceback."""
        told, now_s = f"{cause}. {fix}" if fix else cause, self._monotonic_s()
        with self._lock:
            if told == self._told and now_s < self._told_s + EVERY_S:
                return
            self._told, self._told_s = told, now_s
        words = {"cause": cause, **({"fix": fix} if fix else {}), **detail}
        _log.error(self._begins, **self._fields, **words, exc_info=error)

    def is_over(self) -> None:
        """The loop goes on."""
        if not self._told:
            return
        with self._lock:
            told, self._told = self._told, ""
        if told:
            _log.info(self._ends, **self._fields, after=told)
