"""Lets the wall clock of this process jump where its orders say so."""

from __future__ import annotations

import os
import time
from pathlib import Path

from driftline_lab.chaos.disk.control import CONTROL, Control
from driftline_shared.host.clock import SystemClock


def follow_orders() -> None:
    """`SystemClock` is off by as much as the control block says; nothing without one."""
    path = os.environ.get(CONTROL, "")
    if not path:
        return
    control = Control(Path(path))

    def now_s(_clock: SystemClock) -> float:
        return time.time() + control.clock_s

    SystemClock.now_s = now_s  # type: ignore[assignment, method-assign]
