"""The cloud's state folder.

<state>/lock           held while a cloud runs: two clouds on one state would fight
<state>/port           the port it listens on, for those who asked for any free one
<state>/cloud.sqlite   database, unless another URL is configured
<state>/rounds/        what rounds keep between two states
<state>/releases/      versions, updates, residuals
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from driftline_cloud.release.durable import write_durably
from driftline_shared.errors import ConfigError, Reason


class StateFolder:
    """The folder of one running cloud; a context manager that holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rounds = path / "rounds"
        self.releases = path / "releases"
        self._lock: int | None = None

    def __enter__(self) -> StateFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(
                f"state folder {self.path} cannot be used: {error.strerror}"
            ) from error
        try:
            # The kernel frees the lock with the process, however that ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            self._lock = None
            raise ConfigError(
                f"another cloud runs on the state folder {self.path}", reason=Reason.STATE_IN_USE
            ) from error
        (self.path / "port").unlink(missing_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        (self.path / "port").unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_port(self, port: int) -> None:
        """Tell others on this machine where the cloud listens."""
        write_durably(self.path / "port", f"{port}\n".encode())


def read_port(state: Path) -> int | None:
    """The port of the cloud that runs on `state`; None if none does."""
    try:
        return int((state / "port").read_text())
    except (OSError, ValueError):
        return None
