"""The cloud's state folder.

<state>/lock           held while a cloud runs: two clouds on one state would fight
<state>/port           the port it listens on, for those who asked for any free one
<state>/cloud.sqlite   database, unless another URL is configured
<state>/rounds/        what rounds keep between two states
<state>/releases/      versions, updates, residuals
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from driftline_shared.host.durable import error_text, write_atomic
from driftline_shared.host.lock import state_lock

_log = structlog.get_logger(__name__)


class StateFolder:
    """The folder of one cloud."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rounds = path / "rounds"
        self.releases = path / "releases"

    def write_port(self, port: int) -> None:
        """Say to others on this machine where the cloud listens; a disk that takes nothing keeps no
        cloud from serving, and is logged.
        """
        try:
            write_atomic(self.path / "port", f"{port}\n".encode())
        except OSError as error:
            _log.error(
                "cloud.port_not_kept",
                port=port,
                error=error_text(error),
                fix="Make room; until the next start commands on this machine need --address.",
            )


@contextmanager
def hold_state(path: Path) -> Iterator[StateFolder]:
    """The folder of a running cloud, locked; ConfigError if it is in use or cannot be used."""
    with state_lock(path):
        port = path / "port"
        port.unlink(missing_ok=True)
        try:
            yield StateFolder(path)
        finally:
            port.unlink(missing_ok=True)


def read_port(state: Path) -> int | None:
    """The port of the cloud that runs on `state`; None if none does."""
    try:
        return int((state / "port").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
