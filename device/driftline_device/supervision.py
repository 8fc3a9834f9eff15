"""Who looks after a daemon: is told how it is, and gets a word in between two of its steps."""

from __future__ import annotations

from typing import Protocol

from driftline_device.snapshot import Snapshot


class Supervisor(Protocol):
    """Called by the daemon; must return at once and never raise."""

    def beat(self) -> None:
        """The loop that answers or waits has come round; from its own thread, between two steps."""

    def tell(self, snapshot: Snapshot) -> None:
        """How the daemon is, every `status_s` seconds; from the status thread."""


class NoSupervisor:
    """Nobody looks."""

    def beat(self) -> None:
        """Nothing to do."""

    def tell(self, snapshot: Snapshot) -> None:
        """Nothing to do."""
