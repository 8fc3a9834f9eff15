"""Rollouts as rows: read and written inside somebody's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from driftline_cloud.intake import tables
from driftline_cloud.rollout.cohort import Candidate, choose
from driftline_cloud.rollout.plan import Plan
from driftline_cloud.rollout.rollout import OPEN_STATES, Rollout, RolloutState
from driftline_cloud.rollout.rule import Evidence
from driftline_shared.errors import Reason
from driftline_shared.status import UpdateOutcome

ACTIVE_S = 86_400
"""A device that was seen within so long can be expected to report."""

_TABLE = tables.rollouts

_NOT_THE_VERSION = frozenset(
    {
        Reason.VERSION_NOT_NEWER,
        Reason.UPDATE_EXPIRED,
        Reason.BASE_MISMATCH,
        Reason.BASE_MODEL_UNKNOWN,
        Reason.TOKEN_SPACE_UNKNOWN,
        Reason.MARKS_UNREADABLE,
    }
)
"""Reasons of a refusal that say nothing about the version: the device is offered it again."""


def lock(connection: Connection, line: str) -> None:
    """Let no other transaction change rollouts of the line until this one has ended."""
    own = select(_TABLE.c.version).where(_TABLE.c.line == line).with_for_update()
    connection.execute(own).all()


def find(connection: Connection, condition: ColumnElement[bool], *, limit: int) -> list[Rollout]:
    """Rollouts that meet `condition`, newest version first."""
    query = select(_TABLE).where(condition).order_by(_TABLE.c.version.desc()).limit(limit)
    return [_rollout(row) for row in connection.execute(query).mappings()]


def get(connection: Connection, line: str, version: int) -> Rollout | None:
    """The rollout of that version, if it has a row."""
    found = find(connection, (_TABLE.c.line == line) & (_TABLE.c.version == version), limit=1)
    return found[0] if found else None


def open_ones(connection: Connection, line: str) -> list[Rollout]:
    """Those on their way, newest first."""
    is_open = _TABLE.c.state.in_(sorted(OPEN_STATES))
    return find(connection, (_TABLE.c.line == line) & is_open, limit=1_000)


def owing(connection: Connection, line: str) -> Rollout | None:
    """The stopped rollout in whose place an earlier version is yet to be released, if any."""
    condition = (
        (_TABLE.c.line == line) & _TABLE.c.restore_to.is_not(None) & _TABLE.c.followed_by.is_(None)
    )
    found = find(connection, condition, limit=1)
    return found[0] if found else None


def put(connection: Connection, rollout: Rollout) -> None:
    """Keep `rollout`, in place of what was known of its version."""
    row = {
        **asdict(rollout),
        "plan": rollout.plan.to_mapping(),
        "state": str(rollout.state),
    }
    own = (_TABLE.c.line == rollout.line) & (_TABLE.c.version == rollout.version)
    if connection.execute(update(_TABLE).where(own).values(**row)).rowcount == 0:
        connection.execute(insert(_TABLE).values(**row))


def newest_known(connection: Connection, line: str) -> int:
    """The newest version that the database knows as released; 0: none is."""
    versions, rounds = tables.versions, tables.rounds
    released = connection.scalar(
        select(func.max(versions.c.version)).where(versions.c.line == line)
    )
    # Rounds of before there was a table of versions.
    done = connection.scalar(
        select(func.max(rounds.c.target_version)).where(
            rounds.c.line == line, rounds.c.state == "done"
        )
    )
    return max(int(released or 0), int(done or 0))


def number_owed(connection: Connection, line: str) -> int:
    """See `RolloutStore.number_owed`."""
    table, rounds = tables.lines, tables.rounds
    least = connection.scalar(select(table.c.least_version).where(table.c.id == line))
    if not least:
        return 0
    running = connection.scalar(select(rounds.c.id).where(rounds.c.open_line == line))
    return 0 if running is not None or open_ones(connection, line) else int(least)


def settled(connection: Connection, line: str, newest: int) -> int:
    """The newest version up to `newest` that is everyone's: complete, or without a row."""
    query = (
        select(_TABLE.c.version, _TABLE.c.state)
        .where(_TABLE.c.line == line, _TABLE.c.version <= newest)
        .order_by(_TABLE.c.version.desc())
    )
    version = newest
    for found, state in connection.execute(query):
        if found < version or state == RolloutState.COMPLETE:
            return version
        version = int(found) - 1
    return max(0, version)


def members(connection: Connection, line: str, version: int) -> frozenset[str]:
    """The devices that its phases before the last may reach."""
    table = tables.rollout_devices
    query = select(table.c.device_id).where(table.c.line == line, table.c.version == version)
    return frozenset(connection.execute(query).scalars())


def num_devices(connection: Connection, line: str) -> int:
    """How many devices are enrolled on the line."""
    table = tables.devices
    query = select(func.count()).select_from(table).where(table.c.line == line)
    return int(connection.scalar(query) or 0)


def admit(connection: Connection, rollout: Rollout, *, now_unix_s: int) -> int:
    """Choose and keep the devices of the present phase; how many it may reach."""
    line, version, share = rollout.line, rollout.version, rollout.share
    if share >= 1.0:
        return num_devices(connection, line)
    table = tables.devices
    query = select(table.c.device_id, table.c.last_seen_unix_s).where(table.c.line == line)
    candidates = [
        Candidate(device_id=device_id, is_active=seen_s >= now_unix_s - ACTIVE_S)
        for device_id, seen_s in connection.execute(query)
    ]
    before = members(connection, line, version)
    chosen = choose(
        candidates,
        line=line,
        version=version,
        share=share,
        members=before,
        first=rollout.plan.canaries,
    )
    fresh = [
        {"line": line, "version": version, "device_id": one, "phase": rollout.phase}
        for one in chosen
        if one not in before
    ]
    if fresh:
        connection.execute(insert(tables.rollout_devices), fresh)
    return len(chosen)


def forget_members(connection: Connection, line: str, version: int) -> None:
    """Whom a version might reach needs not be known once it is everyone's, or no one's."""
    table = tables.rollout_devices
    connection.execute(delete(table).where(table.c.line == line, table.c.version == version))


def evidence(connection: Connection, rollout: Rollout) -> Evidence:
    """What the devices that it may reach last reported of the version."""
    reports, chosen = tables.reports, tables.rollout_devices
    mine = (reports.c.line == rollout.line) & (reports.c.version == rollout.version)
    last = select(func.max(reports.c.sequence)).where(mine).group_by(reports.c.device_id)
    if rollout.share < 1.0:
        last = last.where(
            reports.c.device_id.in_(
                select(chosen.c.device_id).where(
                    chosen.c.line == rollout.line, chosen.c.version == rollout.version
                )
            )
        )
    query = (
        select(reports.c.outcome, reports.c.reason, func.count())
        .where(reports.c.sequence.in_(last))
        .group_by(reports.c.outcome, reports.c.reason)
    )
    num_reported = num_bad = 0
    for outcome, reason, count in connection.execute(query):
        if outcome == UpdateOutcome.REFUSED and reason in _NOT_THE_VERSION:
            continue
        num_reported += int(count)
        num_bad += 0 if outcome == UpdateOutcome.APPLIED else int(count)
    return Evidence(num_devices=rollout.num_devices, num_reported=num_reported, num_bad=num_bad)


def _rollout(row: Mapping[Any, Any]) -> Rollout:
    values = dict(row)
    return Rollout(
        **{
            **values,
            "plan": Plan.from_mapping(values["plan"]),
            "state": RolloutState(values["state"]),
        }
    )


def versions_after(connection: Connection, line: str, version: int) -> list[int]:
    """The versions above `version` that have a row, rising."""
    query = select(_TABLE.c.version).where(_TABLE.c.line == line, _TABLE.c.version > version)
    return [int(one) for one in connection.execute(query.order_by(_TABLE.c.version)).scalars()]
