"""What workers say of themselves, in the database: for those who serve, and for an operator.

starting    its parts are being put together
blocked     something it needs is away; it tries again by itself
waiting     another worker drives the line
idle        it drives the line, nothing is to do
working     it drives the line, a round is under way
gone        its process ended; what supervises it says how, and starts another
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_shared.host.clock import Clock
from driftline_shared.status import WorkerStatus

STARTING, BLOCKED, WAITING = "starting", "blocked", "waiting"
IDLE, WORKING, GONE = "idle", "working", "gone"
WORKER_STATES = (STARTING, BLOCKED, WAITING, IDLE, WORKING, GONE)

FORGOTTEN_S = 3_600.0
"""A worker that has said nothing for so long is not listed any more."""

MOST_REASON = 500


@dataclass(kw_only=True)
class Board:
    """The rows of the workers of one line."""

    database: Database
    line: str
    clock: Clock

    def say(self, owner: str, state: str, reason: str = "", progress: float = 0.0) -> None:
        """`owner` is so now."""
        table, now_s = tables.workers, self.clock.now_s()
        values = {
            "line": self.line,
            "state": state,
            "reason": reason[:MOST_REASON],
            "progress": progress,
            "seen_unix_s": now_s,
        }
        with self.database.write() as connection:
            done = connection.execute(update(table).where(table.c.owner == owner).values(**values))
            if done.rowcount == 0:
                connection.execute(
                    insert(table).values(owner=owner, started_unix_s=now_s, **values)
                )
            connection.execute(
                delete(table).where(
                    table.c.line == self.line, table.c.seen_unix_s < now_s - FORGOTTEN_S
                )
            )

    def workers(self) -> tuple[WorkerStatus, ...]:
        """The workers of the line, last seen first."""
        table = tables.workers
        query = (
            select(
                table.c.owner, table.c.state, table.c.reason, table.c.progress, table.c.seen_unix_s
            )
            .where(table.c.line == self.line)
            .order_by(table.c.seen_unix_s.desc(), table.c.owner)
            .limit(100)
        )
        with self.database.read() as connection:
            return tuple(
                WorkerStatus(
                    owner=row.owner,
                    state=row.state,
                    reason=row.reason,
                    progress=row.progress,
                    last_seen_unix_s=int(row.seen_unix_s),
                )
                for row in connection.execute(query)
            )
