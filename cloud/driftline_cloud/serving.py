"""Who serves a database: one state folder at a time, by a lease that it renews.

    leases, line `@serving`        owner (host:folder #inode), renewed, end
    <state>/serving.json           owner, renewed_unix_s: the same, as the folder has it

The identity (see `identity`) tells a foreign folder from the own one, not a *copy* of it. A copy
lies at another place, so it is another owner: it is refused while the first one lives, and takes
over once that was told to stop or has not renewed for a lease. The same folder started again after
a kill is the same owner and waits for nothing; that no two live on one folder is its lock's part.

What works on a copy is told by the file: it stays behind the database's renewals, or names another
owner. Hosts need clocks that differ by less than the lease.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy import Row, select

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import say
from driftline_cloud.rounds.leases import Lease
from driftline_cloud.state import StateFolder
from driftline_shared.errors import ConfigError, DataError, Reason
from driftline_shared.host.clock import Clock
from driftline_shared.host.durable import read_json, write_json
from driftline_shared.program.outage import Outage

FILE = "serving.json"

SERVING = "@serving"
"""In the place of a line, which never begins with that sign."""

LOOK_S = 0.2
MOST_HOST, MOST_PATH = 60, 100

_FIX = (
    "Stop the other one first. For a cloud of its own the copy needs another database, and no "
    "identity.json; to move a cloud, stop it before its folder is copied."
)

_log = structlog.get_logger(__name__)


def owner_of(state: Path) -> str:
    """The name under which the folder serves: where it lies, and which folder that is."""
    path = str(state.resolve())[-MOST_PATH:]
    return f"{socket.gethostname()[:MOST_HOST]}:{path} #{state.stat().st_ino}"


class Serving:
    """The lease of `state` on its database."""

    def __init__(
        self, database: Database, state: StateFolder, *, clock: Clock, lease_s: float
    ) -> None:
        self._database = database
        self._state = state
        self._clock = clock
        self._lease_s = lease_s
        self._outage = Outage(
            "serving.not_renewed", "serving.renewed_again", monotonic_s=clock.monotonic_s
        )
        self._not_stamped = Outage(
            "serving.not_stamped", "serving.stamped_again", monotonic_s=clock.monotonic_s
        )
        self._lease = Lease(
            database, SERVING, owner=owner_of(state.path), clock=clock, lease_s=lease_s
        )

    def begin(self, halt: threading.Event) -> None:
        """Take it; waits at most a lease for one that was killed elsewhere, or until `halt` is set.

        Raises ConfigError (state_in_use) where another one renews it.
        """
        first: float | None = None
        until_s = self._clock.monotonic_s() + self._lease_s + LOOK_S
        while not self._lease.hold():
            found = _row(self._database)
            if found is None:
                continue
            if first is None:
                _log.info("serving.waits", owner=found.owner, most_s=self._lease_s)
            first = found.renewed_unix_s if first is None else first
            if found.renewed_unix_s != first or self._clock.monotonic_s() > until_s:
                raise ConfigError(
                    f"the database is served by another cloud, which lives: {found.owner}; "
                    f"{self._state.path} is a copy of its folder",
                    reason=Reason.STATE_IN_USE,
                    fix=_FIX,
                )
            if self._clock.wait(halt, LOOK_S):
                return
        self._stamp()

    def keep(self, halt: threading.Event, lost: Callable[[str], None]) -> None:
        """Renew it until `halt` is set; `lost` is called, once, with who serves by now."""
        while not self._clock.wait(halt, self._lease_s / 3):
            try:
                if self._lease.hold():
                    self._stamp()
                    self._outage.is_over()
                    continue
                found = _row(self._database)
            except Exception as error:
                # Away for a moment: until another one has taken it, it is ours.
                say(self._outage, error, self._database.place)
                continue
            lost("" if found is None else str(found.owner))
            return

    def end(self) -> None:
        """Let it go, so that another folder need not wait."""
        try:
            self._lease.release()
        except Exception as error:
            say(self._outage, error, self._database.place)

    def _stamp(self) -> None:
        found = _row(self._database)
        if found is None:
            return
        stamp = {"owner": found.owner, "renewed_unix_s": found.renewed_unix_s}
        try:
            write_json(self._state.path / FILE, stamp, durable=False)
        except OSError as error:
            say(self._not_stamped, error, str(self._state.path))
        else:
            self._not_stamped.is_over()


def check_unserved(database: Database, clock: Clock) -> None:
    """DataError (state_in_use) where a cloud serves the database: its lease has not run out."""
    found = _row(database)
    left_s = 0.0 if found is None else found.expires_unix_s - clock.now_s()
    if found is not None and left_s > 0:
        raise DataError(
            f"a cloud serves the database: {found.owner}",
            reason=Reason.STATE_IN_USE,
            fix=f"Stop it first; if it was killed, its lease ends in {max(1, round(left_s))} s.",
        )


def why_not_served(database: Database, state: StateFolder, *, lease_s: float) -> str:
    """Why no round may be driven on `state`: another folder serves its database; empty: it does, or
    none ever did.
    """
    # The file first: a renewal between the two must not make it look old.
    stamp = _read_stamp(state.path)
    found = _row(database)
    if found is None:
        return ""
    if stamp is None:
        return f"no cloud has served on {state.path}; the database is served by {found.owner}"
    owner, renewed_s = stamp
    if owner != found.owner:
        return f"{state.path} is a copy: the database is served by {found.owner}"
    if found.renewed_unix_s - renewed_s > lease_s:
        behind_s = found.renewed_unix_s - renewed_s
        return f"{state.path} is a copy, {behind_s:.0f} s behind {found.owner}"
    return ""


def _read_stamp(folder: Path) -> tuple[str, float] | None:
    try:
        found = read_json(folder / FILE)
        return None if found is None else (str(found["owner"]), float(found["renewed_unix_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _row(database: Database) -> Row[str, int, float, float] | None:
    table = tables.leases
    query = select(
        table.c.owner, table.c.token, table.c.renewed_unix_s, table.c.expires_unix_s
    ).where(table.c.line == SERVING)
    with database.read() as connection:
        return connection.execute(query).one_or_none()
