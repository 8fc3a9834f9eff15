"""What is forgotten by age and by count, so that no table grows for ever: a little at a time.

Never forgotten: lines, versions, policies, the newest round of a line and the last that released.
A sample that is forgotten takes its labels and its places in rounds with it, and its id: a device
that sent it again after so long would have it stored anew. One of a dropped line goes whatever its
state, once the line has been dropped for as long.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Table, delete, func, select

from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import say
from driftline_shared.host.clock import Clock
from driftline_shared.program.outage import Outage
from driftline_shared.program.section import Section, setting
from driftline_shared.status import DROPPED_LINE

_DAY_S = 86_400
_SOME = 500
"""Rows of one table that go in one step: no writer waits for long."""

_log = structlog.get_logger(__name__)


class RetentionSettings(Section):
    """How long rows stay in the database. Days and counts; 0: for ever."""

    reports_days: int = setting(180, "what devices reported of updates", ge=0)
    most_reports: int = setting(1_000_000, "of them, the newest", ge=0)
    usage_days: int = setting(60, "what a device sent on a day", ge=0)
    samples_days: int = setting(
        365,
        "ids and labels of samples whose bytes have gone (`rounds.keep_used_samples`), and every "
        "sample of a line that was dropped so long ago",
        ge=0,
    )
    rounds_days: int = setting(0, "rounds that are over", ge=0)
    most_rounds: int = setting(10_000, "of them, the newest", ge=0)
    devices_days: int = setting(0, "devices that were not seen; one that comes back enrols", ge=0)
    audit_days: int = setting(730, "who did what to a version", ge=0)
    most_audit: int = setting(100_000, "of that, the newest", ge=0)
    every_s: float = setting(60.0, "between two steps", gt=0)


@dataclass(kw_only=True)
class Retention:
    """Forgets what is past its time, in the thread that calls `run`."""

    database: Database
    settings: RetentionSettings
    clock: Clock

    def run(self, stop: threading.Event) -> None:
        """A step now and then, until `stop` is set."""
        outage = Outage(
            "retention.failed", "retention.works_again", monotonic_s=self.clock.monotonic_s
        )
        while not stop.is_set():
            gone: dict[str, int] = {}
            try:
                gone = self.step()
            except Exception as error:
                # The database may be away for a while.
                say(outage, error, self.database.place)
            else:
                outage.is_over()
            if gone:
                _log.info("rows.forgotten", **gone)
            self.clock.wait(stop, self.settings.every_s)

    def step(self) -> dict[str, int]:
        """Forget at most some hundred rows of each table; how many went, by table."""
        limits, now_s = self.settings, int(self.clock.now_s())
        reports, usage, devices = tables.reports, tables.usage, tables.devices
        audit = tables.audit
        found: dict[str, int] = {}
        with self.database.write() as connection:
            old: list[tuple[Table, Any, Any]] = []
            for table, at_unix_s, keep_days, most in (
                (reports, reports.c.received_unix_s, limits.reports_days, limits.most_reports),
                (audit, audit.c.at_unix_s, limits.audit_days, limits.most_audit),
            ):
                key = table.c.sequence
                if keep_days:
                    old.append((table, key, at_unix_s < now_s - keep_days * _DAY_S))
                if most:
                    old.append((table, key, key <= _edge(connection, key, most)))
            if limits.devices_days:
                edge = now_s - limits.devices_days * _DAY_S
                old.append((devices, devices.c.device_id, devices.c.last_seen_unix_s < edge))
            for table, key, condition in old:
                _count(found, table, _forget(connection, table, key, condition))
            if limits.usage_days:
                days = select(usage.c.day).where(usage.c.day < now_s // _DAY_S - limits.usage_days)
                day = connection.scalar(days.order_by(usage.c.day).limit(1))
                if day is not None:
                    _count(
                        found,
                        usage,
                        _forget(connection, usage, usage.c.device_id, usage.c.day == day),
                    )
            if limits.samples_days:
                _count(
                    found,
                    tables.samples,
                    _forget_samples(connection, now_s - limits.samples_days * _DAY_S),
                )
            _count(found, tables.rounds, self._forget_rounds(connection, now_s))
        return found

    def _forget_rounds(self, connection: Connection, now_s: int) -> int:
        rounds, limits = tables.rounds, self.settings
        gone = 0
        for line in connection.execute(select(rounds.c.line).distinct()).scalars().all():
            mine = rounds.c.line == line
            released = connection.scalar(
                select(func.max(rounds.c.number)).where(mine, rounds.c.state == "done")
            )
            newest = connection.scalar(select(func.max(rounds.c.number)).where(mine))
            # From the last release on they say what no version has learnt yet.
            edge = min(int(released or 0), int(newest or 0))
            over = mine & rounds.c.open_line.is_(None) & (rounds.c.number < edge)
            # One whose samples are here yet says which of them were held out.
            used = select(tables.samples.c.id).where(tables.samples.c.round_id == rounds.c.id)
            over &= ~used.exists()
            by_age = rounds.c.changed_unix_s < now_s - limits.rounds_days * _DAY_S
            by_count = rounds.c.number <= int(newest or 0) - limits.most_rounds
            for wanted, condition in (
                (limits.rounds_days, by_age),
                (limits.most_rounds, by_count),
            ):
                if wanted:
                    ids = _some(connection, rounds.c.id, over & condition)
                    places = tables.round_samples
                    connection.execute(delete(places).where(places.c.round_id.in_(ids)))
                    connection.execute(delete(rounds).where(rounds.c.id.in_(ids)))
                    gone += len(ids)
        return gone


def _forget_samples(connection: Connection, edge_s: int) -> int:
    samples = tables.samples
    bare = (samples.c.state == counts.DROPPED) & (samples.c.received_unix_s < edge_s)
    ids = _some(connection, samples.c.id, bare)
    lines = select(tables.lines.c.id).where(
        tables.lines.c.state == DROPPED_LINE, tables.lines.c.changed_unix_s < edge_s
    )
    # By line, so that a dropped one alone is looked through.
    for line in connection.execute(lines).scalars().all():
        if len(ids) < _SOME:
            ids = [*ids, *_some(connection, samples.c.id, samples.c.line == line)]
    for table, key in (
        (tables.labels, tables.labels.c.sample_id),
        (tables.quarantine, tables.quarantine.c.sample_id),
        (tables.corrections, tables.corrections.c.sample_id),
        (tables.round_samples, tables.round_samples.c.sample_id),
    ):
        connection.execute(delete(table).where(key.in_(ids)))
    if ids:
        counts.remove(connection, samples.c.id.in_(ids))
    return len(ids)


def _forget(connection: Connection, table: Table, key: Any, condition: Any) -> int:
    keys = _some(connection, key, condition)
    return int(connection.execute(delete(table).where(key.in_(keys), condition)).rowcount)


def _some(connection: Connection, key: Any, condition: Any) -> Sequence[Any]:
    return connection.execute(select(key).where(condition).limit(_SOME)).scalars().all()


def _edge(connection: Connection, key: Any, keep: int) -> int:
    """The newest key that is too many; 0: none is."""
    query = select(key).order_by(key.desc()).offset(keep).limit(1)
    return int(connection.scalar(query) or 0)


def _count(found: dict[str, int], table: Table, rows: int) -> None:
    if rows:
        found[table.name] = found.get(table.name, 0) + rows
