"""Time as an argument: whoever waits or stamps is given a clock, and tests give a fake one."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps, monotonic time for deadlines, and the two ways to let time pass."""

    def now_s(self) -> float:
        """Seconds since 1970; may jump."""

    def monotonic_s(self) -> float:
        """Seconds since some moment; only rises."""

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Until `event` is set, at most `seconds`; whether it is set."""


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))
