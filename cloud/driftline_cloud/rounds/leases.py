"""Who drives the rounds of a line: one worker at a time, by a lease in the database.

A lease has an owner, an end, and a token that rises with every owner. Who holds it renews it; who
stopped renewing it (killed, cut off, stalled) loses it at its end, and another worker goes on.
What a worker saves is saved in the transaction in which its token was found to be the line's
newest, so that one that wakes up late changes nothing any more (a fencing token: M. Kleppmann,
"How to do distributed locking", 2016). Workers on several machines need clocks that differ by less
than the lease; a wrong clock costs a change of owner, never a save by two.
"""

from __future__ import annotations

import threading

import structlog
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_shared.errors import DriftlineError
from driftline_shared.host.clock import Clock

_log = structlog.get_logger(__name__)


class LeaseLostError(DriftlineError):
    """Another worker drives the line by now; what this one was about to save is not saved."""


class Lease:
    """The lease of `line` as `owner` sees it. Calls may come from several threads.

    An owner that comes back under its own name takes its lease again at once: two processes of one
    name must not live at the same time.
    """

    def __init__(
        self, database: Database, line: str, *, owner: str, clock: Clock, lease_s: float
    ) -> None:
        self.owner = owner
        self._database = database
        self._line = line
        self._clock = clock
        self._lease_s = lease_s
        self._lock = threading.Lock()
        self._token: int | None = None
        self._renewed_s = 0.0

    @property
    def is_held(self) -> bool:
        """Whether it was ours when we last looked."""
        return self._token is not None

    def hold(self) -> bool:
        """Take the lease, or renew it when that is due; whether it is ours."""
        with self._lock:
            age_s = self._clock.now_s() - self._renewed_s
            if self._token is not None and 0 <= age_s < self._lease_s / 3:
                return True
            try:
                return self._take()
            except IntegrityError:
                return False  # another one was first

    def check(self, connection: Connection) -> None:
        """Within a transaction that writes: LeaseLostError unless the lease is ours still."""
        table = tables.leases
        found = connection.scalar(
            select(table.c.token).where(table.c.line == self._line).with_for_update()
        )
        if self._token is None or found != self._token:
            self._token = None
            raise LeaseLostError(f"another worker drives the rounds of line {self._line}")

    def release(self) -> None:
        """Let it go, so that another one need not wait for its end."""
        with self._lock:
            if self._token is None:
                return
            table = tables.leases
            with self._database.write() as connection:
                connection.execute(
                    update(table)
                    .where(table.c.line == self._line, table.c.token == self._token)
                    .values(expires_unix_s=0.0)
                )
            self._token = None

    def _take(self) -> bool:
        table, now_s = tables.leases, self._clock.now_s()
        times = {"renewed_unix_s": now_s, "expires_unix_s": now_s + self._lease_s}
        with self._database.write() as connection:
            found = connection.execute(
                select(table).where(table.c.line == self._line).with_for_update()
            ).one_or_none()
            ours = found is not None and self._token is not None and found.token == self._token
            if found is None:
                token = 1
                connection.execute(
                    insert(table).values(line=self._line, owner=self.owner, token=1, **times)
                )
            elif ours or found.owner == self.owner or found.expires_unix_s <= now_s:
                token = found.token if ours else found.token + 1
                connection.execute(
                    update(table)
                    .where(table.c.line == self._line)
                    .values(owner=self.owner, token=token, **times)
                )
            else:
                if self._token is not None:
                    _log.warning("lease.lost", line=self._line, owner=found.owner)
                self._token = None
                return False
        if not ours:
            _log.info("lease.taken", line=self._line, owner=self.owner, token=token)
        self._token, self._renewed_s = token, now_s
        return True
