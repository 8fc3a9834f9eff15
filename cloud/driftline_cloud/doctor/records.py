"""Checks of what the database says: leases, rounds, quarantine, devices. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import func, select

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.serving import SERVING
from driftline_shared.plain_text import moment, visible
from driftline_shared.program.checks import Check, fail, ok, warn

DAY_S = 86_400
MOST_NAMED = 3

STUCK_S = 3_600.0
"""An open round that has not changed for so long is looked at."""

LEAST_REPORTS, FAILING_SHARE = 5, 0.2
"""Of the devices that told of an update within a day: how many may have failed."""

CLOCK_SLACK_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Records:
    """The database as the checks read it; `now_s` is this machine's clock."""

    database: Database
    lease_s: float
    now_s: float = field(default_factory=time.time)

    def checks(self) -> Sequence[tuple[str, Callable[[], Check]]]:
        """Name and check, in the order they are shown."""
        return (
            ("clock", self.clock),
            ("serving", self.serving),
            ("working", self.working),
            ("rounds", self.rounds),
            ("quarantine", self.quarantine),
            ("devices", self.devices),
        )

    def clock(self) -> Check:
        """Whether this machine's clock and the database's agree: leases end by them."""
        shown = f"{moment(self.now_s)} UTC"
        with self.database.read() as connection:
            if connection.dialect.name == "sqlite":
                newest = connection.scalar(select(func.max(tables.leases.c.renewed_unix_s)))
                apart_s = max(0.0, float(newest or 0.0) - self.now_s)
            else:
                now = connection.scalar(select(func.extract("epoch", func.now())))
                apart_s = abs(float(now or 0.0) - time.time())
        if apart_s > CLOCK_SLACK_S:
            found = f"{shown}, {apart_s:.0f} s from the database's"
            return fail("clock", found, "Set the clocks (timedatectl): leases end by them.")
        return ok("clock", shown)

    def serving(self) -> Check:
        """Which folder serves the database now."""
        row = self._lease(SERVING)
        if row is None or row[1] == 0.0:
            return ok("serving", "no cloud serves now")
        owner, end_s = row
        if end_s < self.now_s:
            found = f"{owner} did not renew its lease for {self._ago(end_s - self.lease_s)}"
            return warn("serving", found, "Start it again: it was killed or hangs.")
        return ok("serving", f"from {owner}")

    def working(self) -> Check:
        """Who drives rounds, and what holds them up."""
        table = tables.workers
        query = select(table.c.owner, table.c.state, table.c.reason, table.c.seen_unix_s)
        with self.database.read() as connection:
            rows = connection.execute(query.order_by(table.c.seen_unix_s.desc()).limit(100)).all()
        alive = [row for row in rows if row.seen_unix_s > self.now_s - max(60.0, 3 * self.lease_s)]
        if not alive:
            last = ""
            if rows:
                last = f"; {rows[0].owner} last spoke {self._ago(rows[0].seen_unix_s)} ago"
            return warn(
                "working", f"nobody drives rounds{last}", "Start `driftline cloud work`, or serve."
            )
        for row in alive:
            if row.state in ("blocked", "gone"):
                found = visible(f"{row.owner} is {row.state}: {row.reason}")
                return fail("working", found, "Mend what is named; it resumes by itself.")
        named = ", ".join(f"{row.owner} {row.state}" for row in alive[:MOST_NAMED])
        return ok("working", f"{len(alive)}: {named}")

    def rounds(self) -> Check:
        """Rounds that stand still, and lines whose last rounds failed."""
        table = tables.rounds
        with self.database.read() as connection:
            opened = connection.execute(
                select(table.c.id, table.c.state, table.c.reason, table.c.changed_unix_s)
                .where(table.c.open_line.is_not(None))
                .order_by(table.c.changed_unix_s)
            ).all()
            newest = select(table.c.line, func.max(table.c.number).label("number"))
            last = newest.group_by(table.c.line).subquery()
            failed = connection.execute(
                select(table.c.id, table.c.reason)
                .join(last, (table.c.line == last.c.line) & (table.c.number == last.c.number))
                .where(table.c.state == "failed")
            ).all()
        for row in opened:
            if row.changed_unix_s < self.now_s - STUCK_S:
                found = f"{row.id} is {row.state} for {self._ago(row.changed_unix_s)}"
                why = f": {visible(row.reason)}" if row.reason else ""
                return warn("rounds", found + why, "Look at `working` above and the worker's log.")
        if failed:
            found = f"{failed[0].id} failed: {visible(failed[0].reason)}"
            return warn("rounds", found, "Mend what is named; the next round takes the samples.")
        return ok("rounds", f"{len(opened)} open, none stands still")

    def quarantine(self) -> Check:
        """Samples that no round can work on, and how many are new."""
        table = tables.quarantine
        with self.database.read() as connection:
            total = int(connection.scalar(select(func.count()).select_from(table)) or 0)
            fresh = connection.execute(
                select(table.c.reason, func.count().label("num"))
                .where(table.c.quarantined_unix_s > self.now_s - DAY_S)
                .group_by(table.c.reason)
                .order_by(func.count().desc())
            ).all()
        if fresh:
            num = sum(row.num for row in fresh)
            reasons = ", ".join(f"{row.num} {visible(row.reason)}" for row in fresh[:MOST_NAMED])
            return warn(
                "quarantine",
                f"{total}, of which {num} within a day: {reasons}",
                "Look at `driftline cloud samples list --quarantined`.",
            )
        return ok("quarantine", f"{total}, none within a day")

    def devices(self) -> Check:
        """Updates that devices refused or took back within a day."""
        table = tables.reports
        since = table.c.received_unix_s > self.now_s - DAY_S
        with self.database.read() as connection:
            num_devices = int(
                connection.scalar(select(func.count()).select_from(tables.devices)) or 0
            )
            told = connection.execute(
                select(table.c.outcome, table.c.reason, func.count(table.c.device_id.distinct()))
                .where(since)
                .group_by(table.c.outcome, table.c.reason)
            ).all()
            num_told = int(
                connection.scalar(select(func.count(table.c.device_id.distinct())).where(since))
                or 0
            )
        bad = sorted(
            ((num, f"{outcome} {reason}") for outcome, reason, num in told if outcome != "applied"),
            reverse=True,
        )
        found = f"{num_devices} known, {num_told} told of an update within a day"
        if num_told >= LEAST_REPORTS and sum(num for num, _ in bad) > FAILING_SHARE * num_told:
            reasons = ", ".join(f"{num} {visible(text)}" for num, text in bad[:MOST_NAMED])
            return warn("devices", f"{found}: {reasons}", "Look at `driftline cloud status`.")
        return ok("devices", found)

    def _lease(self, line: str) -> tuple[str, float] | None:
        table = tables.leases
        query = select(table.c.owner, table.c.expires_unix_s).where(table.c.line == line)
        with self.database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (str(row.owner), float(row.expires_unix_s))

    def _ago(self, unix_s: float) -> str:
        return str(timedelta(seconds=int(max(0.0, self.now_s - unix_s))))
