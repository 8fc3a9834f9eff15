"""Who supervises a daemon: gets its status, and is called between two of its steps."""

from __future__ import annotations

from collections.abc import Callable

from driftline_device.daemon.snapshot import Snapshot
from driftline_device.daemon.systemd import Notifier
from driftline_shared.callbacks import ignore


class Supervisor:
    """Called by the daemon; must return soon and never raise. This one does not look."""

    def beat(self) -> None:
        """The loop that answers or waits has come round; from its own thread, between two steps."""

    def report(self, snapshot: Snapshot) -> None:
        """How the daemon is, every `status_s` seconds; from the status thread."""


class ServiceSupervisor(Supervisor):
    """A service manager that follows the daemon through `notifier` and may ask for a reload."""

    def __init__(self, notifier: Notifier) -> None:
        self.notifier = notifier
        self.reload: Callable[[], None] = ignore
        self._reload_asked = False

    def request_reload(self) -> None:
        """Reload before the next step; a plain flag, safe in a signal handler."""
        self._reload_asked = True

    def beat(self) -> None:
        """Pass the beat on, and reload if that was asked for."""
        self.notifier.beat()
        if self._reload_asked:
            self._reload_asked = False
            self.notifier.reloading()
            self.reload()
            self.notifier.ready()

    def report(self, snapshot: Snapshot) -> None:
        """One line for `systemctl status`."""
        paused = " (paused)" if snapshot.paused_unix_s is not None else ""
        num_waiting = snapshot.spool.get("num_samples", 0)
        self.notifier.status(
            f"{snapshot.activity}{paused}, version {snapshot.version},"
            f" {snapshot.num_answered} answered, {num_waiting} samples wait"
        )
