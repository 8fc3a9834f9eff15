"""Waiting in tests for what another thread or process does, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(done: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Return once `done` says so; fail the test after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline, f"did not come about within {timeout_s:.0f} s"
        time.sleep(0.01)
