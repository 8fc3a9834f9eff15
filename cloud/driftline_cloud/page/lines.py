"""Lines, rounds and versions, read from the cloud's database for a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, func, select

from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.database import Database
from driftline_cloud.page.values import (
    Asked,
    LineFacts,
    RoundFacts,
    VersionFacts,
)
from driftline_cloud.rollout.audit import AuditEntry
from driftline_cloud.rollout.rollout import Rollout
from driftline_cloud.rollout.rows import newest_known
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.board import BLOCKED, GONE, IDLE, WORKING, Board
from driftline_cloud.rounds.round import OPEN_STATES, RoundState
from driftline_shared.host.clock import Clock

MOST_LINES = 100
"""Lines on the first page."""

MOST_CHARTED = 200
"""Rounds of a line in its charts, the newest."""

_HELD_BY_STATE = {
    "paused": "Paused: samples are stored and updates served, no round is made until "
    "`driftline cloud line resume`.",
    "dropped": "Dropped: its devices are turned away; `driftline cloud line add` brings it back.",
}


class LineReader:
    """What a page shows of lines; reads alone. `silent_s`: a worker that said nothing for so long
    is as good as gone.
    """

    def __init__(self, database: Database, clock: Clock, *, silent_s: float = 60.0) -> None:
        self._database = database
        self._clock = clock
        self._silent_s = silent_s
        self._rollouts = RolloutStore(database)

    def names(self) -> list[str]:
        """Every line, by name."""
        return self._rollouts.lines()

    def lines(self) -> tuple[LineFacts, ...]:
        """All lines, what is held first."""
        found = [self.line(name) for name in self.names()[:MOST_LINES]]
        return tuple(sorted(found, key=lambda one: (not one.held, one.line)))

    def line(self, name: str) -> LineFacts:
        """One line, with its last rounds."""
        now_s = self._clock.now_s()
        workers = Board(database=self._database, line=name, clock=self._clock).workers()
        leases, rounds = tables.leases, tables.rounds
        with self._database.read() as connection:
            count = counts.of_line(connection, name)
            newest = newest_known(connection, name)
            lease = connection.execute(select(leases).where(leases.c.line == name)).one_or_none()
            state = connection.scalar(select(tables.lines.c.state).where(tables.lines.c.id == name))
            num_rounds = connection.scalar(
                select(func.count()).select_from(rounds).where(rounds.c.line == name)
            )
        latest = self.rounds(Asked(line=name, limit=MOST_CHARTED))
        by_version = self._rollouts.holding(name)
        held = [_HELD_BY_STATE[state]] if state in _HELD_BY_STATE else []
        alive = [one for one in workers if now_s - one.last_seen_unix_s <= self._silent_s]
        driving = [one for one in alive if one.state in (IDLE, WORKING)]
        if state in _HELD_BY_STATE:
            pass  # nobody drives it, as its operator wants
        elif not alive:
            held.append("No worker: samples wait until `driftline cloud work` runs.")
        elif not driving:
            held += [
                f"Worker {one.owner} is {one.state}: {one.reason or 'it does not say why'}."
                for one in alive
                if one.state in (BLOCKED, GONE)
            ]
        if latest and latest[0].state == RoundState.FAILED:
            held.append(f"Round {latest[0].number} failed: {latest[0].reason}")
        if latest and latest[0].is_open and latest[0].num_errors:
            held.append(
                f"Round {latest[0].number}, {latest[0].state}, went wrong "
                f"{latest[0].num_errors} times: {latest[0].reason}"
            )
        waits = self._rollouts.why_held(name, newest, now_unix_s=int(now_s), most_s=float("inf"))
        if waits:
            held.append(f"No new round: {waits}.")
        is_held = lease is not None and lease.expires_unix_s > now_s
        return LineFacts(
            line=name,
            state=state or "",
            newest_version=newest,
            num_samples=count.num_samples,
            num_waiting=count.num_waiting,
            num_quarantined=count.num_quarantined,
            num_devices=sum(by_version.values()),
            num_rounds=int(num_rounds or 0),
            by_version=dict(sorted(by_version.items(), reverse=True)),
            held=tuple(held),
            driver=lease.owner if lease is not None and is_held else "",
            lease_unix_s=int(lease.expires_unix_s) if lease is not None and is_held else 0,
            progress=max((one.progress for one in driving), default=0.0),
            workers=workers,
            rounds=latest,
        )

    def rounds(self, asked: Asked) -> tuple[RoundFacts, ...]:
        """Rounds, newest first."""
        table = tables.rounds
        query = _of_line(select(table), table, asked)
        query = query.order_by(table.c.created_unix_s.desc(), table.c.number.desc())
        with self._database.read() as connection:
            rows = connection.execute(query.limit(asked.limit).offset(asked.offset)).mappings()
            return tuple(_round(row) for row in rows)

    def num_rounds(self, asked: Asked) -> int:
        """How many rounds there are, on whatever page."""
        table = tables.rounds
        query = _of_line(select(func.count()).select_from(table), table, asked)
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)

    def round(self, round_id: str) -> RoundFacts | None:
        """The round of that id, if there is one."""
        table = tables.rounds
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.id == round_id)).mappings()
            found = row.one_or_none()
        return None if found is None else _round(found)

    def versions(self, asked: Asked) -> tuple[VersionFacts, ...]:
        """Versions of a line with their rollouts, newest first; `asked.line` is needed."""
        table, rounds = tables.versions, tables.rounds
        done = (rounds.c.line == asked.line) & (rounds.c.state == RoundState.DONE)
        most = asked.limit + asked.offset
        # Rounds of before there was a table of versions are in none of its rows.
        of_rounds = (
            select(rounds.c.target_version, rounds.c.id, rounds.c.changed_unix_s)
            .where(done)
            .order_by(rounds.c.target_version.desc())
            .limit(most)
        )
        of_versions = (
            select(table.c.version, table.c.round_id, table.c.released_unix_s)
            .where(table.c.line == asked.line)
            .order_by(table.c.version.desc())
            .limit(most)
        )
        found: dict[int, tuple[str, int]] = {}
        rollouts = {one.version: one for one in self._rollouts.newest(asked.line, limit=most)}
        holding = self._rollouts.holding(asked.line)
        with self._database.read() as connection:
            for query in (of_rounds, of_versions):
                for version, round_id, released_s in connection.execute(query):
                    found[int(version)] = (str(round_id), int(released_s))
            for version, one in rollouts.items():
                found.setdefault(version, (one.round_id, one.created_unix_s))
            wanted = sorted(found, reverse=True)[asked.offset : most]
            of_wanted = select(rounds.c.id, rounds.c.numbers).where(
                rounds.c.id.in_([found[version][0] for version in wanted])
            )
            numbers = {one.id: one.numbers for one in connection.execute(of_wanted)}
        return tuple(
            VersionFacts(
                line=asked.line,
                version=version,
                round_id=found[version][0],
                released_unix_s=found[version][1],
                update_bytes=int(numbers.get(found[version][0], {}).get("update.update_bytes", 0)),
                num_devices=holding.get(version, 0),
                **_rollout(rollouts.get(version)),
            )
            for version in wanted
        )

    def done(self, asked: Asked) -> tuple[AuditEntry, ...]:
        """Who did what, newest first: to one line and its versions, or everything."""
        return tuple(self._rollouts.log(line=asked.line, limit=asked.limit, offset=asked.offset))


def _rollout(found: Rollout | None) -> dict[str, Any]:
    if found is None:
        return {}
    phases = found.plan.phases
    return {
        "state": str(found.state),
        "phase": f"{found.phase + 1} of {len(phases)}" if phases else "",
        "share": found.share,
        "reason": found.reason,
    }


def _of_line(query: Select[Any], table: Any, asked: Asked) -> Select[Any]:
    return query.where(table.c.line == asked.line) if asked.line else query


def _round(row: Mapping[Any, Any]) -> RoundFacts:
    return RoundFacts(
        id=row["id"],
        line=row["line"],
        number=row["number"],
        state=row["state"],
        is_open=row["state"] in OPEN_STATES,
        num_samples=row["num_samples"],
        base_version=row["base_version"],
        target_version=row["target_version"],
        reason=row["reason"],
        trigger=row["trigger"],
        num_starts=row["num_starts"],
        num_errors=row["num_errors"],
        created_unix_s=row["created_unix_s"],
        seconds=max(0, row["changed_unix_s"] - row["created_unix_s"]),
        numbers=dict(row["numbers"]),
    )
