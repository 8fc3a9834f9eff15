"""One line in the log when something stops to work, and one when it works again."""

from __future__ import annotations

import threading
from typing import Any

import structlog

from driftline_shared.host.clock import Clock

QUIET_S = 60.0
"""What breaks again and again is named once in so many seconds."""

_log = structlog.get_logger(__name__)


class Outage:
    """Whether `what` (logged as `NAME.lost` and `NAME.back`) works; safe from any thread."""

    def __init__(self, name: str, clock: Clock, *, fix: str, **context: Any) -> None:
        self._name = name
        self._clock = clock
        self._fix = fix
        self._context = context
        self._lock = threading.Lock()
        self._since_s: float | None = None
        self._logged_s: float | None = None
        self._error = ""

    @property
    def error(self) -> str:
        """Of the outage that lasts; empty while all is well."""
        return self._error

    def lost(self, error: BaseException | str) -> None:
        """It does not work: logged the first time, and not if that was a moment ago."""
        text = error if isinstance(error, str) else _said(error)
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._error = text
            is_new = self._since_s is None
            is_said = self._logged_s is not None and now_s < self._logged_s + QUIET_S
            if is_new:
                self._since_s = now_s
            if is_new and not is_said:
                self._logged_s = now_s
        if is_new and not is_said:
            _log.warning(f"{self._name}.lost", error=text, fix=self._fix, **self._context)

    def back(self, **found: Any) -> None:
        """It works: logged where the log says that it did not."""
        with self._lock:
            since_s, self._since_s, self._error = self._since_s, None, ""
            is_said = since_s is not None and since_s == self._logged_s
        if since_s is not None and is_said:
            away_s = round(self._clock.monotonic_s() - since_s, 1)
            _log.info(f"{self._name}.back", away_s=away_s, **self._context, **found)


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
