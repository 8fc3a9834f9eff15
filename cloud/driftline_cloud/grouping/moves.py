"""Devices change lines, with their samples: inside one transaction, with its entry in the log.

A group is a line of its own from then on (see `lines.book`): it begins with the versions that it
shares with the line it left, and has rounds, versions, rollouts and a working process of its own.
Versions never fall on a device: a line that is joined by devices of one that had got further gets
the next higher number first (`rollout.keeper`), under the bits that it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from sqlalchemy import Connection, delete, insert, select, update

from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.counts import USED, WAITING
from driftline_cloud.intake.line import group_id
from driftline_cloud.lines.book import ACTIVE, DROPPED, KnownLine
from driftline_cloud.rollout import rows
from driftline_cloud.rollout.audit import write_entry
from driftline_shared.errors import DataError
from driftline_shared.plain_text import visible

MOST_NAMED = 5
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SOME = 500
"""SQLite bounds the number of variables of one statement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Who has it done, why, and when."""

    who: str
    why: str = ""
    now_unix_s: int


def lines_of(connection: Connection) -> dict[str, KnownLine]:
    """Every line, by id."""
    columns = [tables.lines.c[each.name] for each in fields(KnownLine)]
    rows_ = connection.execute(select(*columns).order_by(tables.lines.c.added_unix_s))
    return {row["id"]: KnownLine(**row) for row in rows_.mappings()}


def family(known: dict[str, KnownLine], line: str) -> list[KnownLine]:
    """The line without a group that `line` is of, and then its groups, dropped ones too."""
    root = known[line].parent or line
    return [known[root], *(row for row in known.values() if row.parent == root)]


def free_name(known: dict[str, KnownLine], line: str) -> str:
    """A name that no group of the line has, or had."""
    return f"g{len(family(known, line)) + 1}"


def split(
    connection: Connection, parent: str, group: str, device_ids: Sequence[str], order: Order
) -> KnownLine:
    """Give `device_ids`, which are on the line `parent`, a line of their own; what it begins as.

    Samples of an open round stay with it. Raises DataError for a name that is taken or none, for
    devices that are not on the line, and while the newest version is on its way.
    """
    known = lines_of(connection)
    row = _served(known, parent)
    if row.group:
        raise DataError(
            f"line {parent} is a group itself",
            fix=f"Split {row.parent}, or move devices between its groups.",
        )
    if not _NAME.fullmatch(group):
        raise DataError(
            f"{visible(group)[:64]!r} is no name: a-z, 0-9 and -, at most 32 characters"
        )
    if group_id(parent, group) in known:
        raise DataError(f"line {parent} has, or had, a group {group}: choose another name")
    why = _why_not_now(connection, parent)
    if why:
        raise DataError(f"line {parent} cannot be split now: {why}", fix="Ask again later.")
    ids = sorted(set(device_ids))
    _check_on(connection, ids, (parent,))
    forked = rows.newest_known(connection, parent)
    versions = tables.versions
    shared = connection.execute(select(versions).where(versions.c.line == parent)).mappings().all()
    if forked and forked not in {version["version"] for version in shared}:
        raise DataError(
            f"version {forked} of line {parent} was released before lines could be split",
            fix="Ask again after its next round that releases.",
        )
    child = replace(
        row,
        id=group_id(parent, group),
        state=ACTIVE,
        group=group,
        parent=parent,
        forked_version=forked,
        least_version=0,
        num_moves=0,
        added_unix_s=order.now_unix_s,
        changed_unix_s=order.now_unix_s,
    )
    values = {each.name: getattr(child, each.name) for each in fields(KnownLine)}
    connection.execute(insert(tables.lines).values(**values))
    for version in shared:
        connection.execute(insert(versions).values({**version, "line": child.id}))
    _carry(connection, ids, parent, child.id)
    _count_moves(connection, (parent, child.id))
    _write(connection, "split", parent, forked, order, f"group {group}: {_some(ids)}")
    _write(connection, "begin", child.id, forked, order, f"split off {parent}: {_some(ids)}")
    return child


def move(connection: Connection, device_ids: Sequence[str], to: str, order: Order) -> None:
    """Put devices, which are on lines of one family with `to`, on that line.

    Raises DataError where they are not, or a version is being stopped.
    """
    known = lines_of(connection)
    target = _served(known, to)
    ids = sorted(set(device_ids))
    others = [row.id for row in family(known, to) if row.id != to]
    found = _check_on(connection, ids, others)
    for source, own in found.items():
        _join(connection, known[source], target, own, order)
    _count_moves(connection, (to, *found))


def merge(connection: Connection, group: str, order: Order) -> KnownLine:
    """Put every device of a group, and its samples, on the line that it left, and drop it; that
    line. DataError while a round of it is open.
    """
    known = lines_of(connection)
    row = _served(known, group)
    if not row.group:
        raise DataError(f"line {group} is no group", fix="`driftline cloud group list` shows them.")
    rounds, devices, samples = tables.rounds, tables.devices, tables.samples
    running = connection.scalar(select(rounds.c.id).where(rounds.c.open_line == group))
    if running is not None:
        raise DataError(
            f"round {running} of the group is open",
            fix="Wait until it has ended: `driftline cloud round list --line`.",
        )
    target = _served(known, row.parent)
    ids = list(
        connection.execute(select(devices.c.device_id).where(devices.c.line == group)).scalars()
    )
    _join(connection, row, target, ids, order)
    # What devices sent that are gone by now.
    counts.carry(connection, samples.c.line == group, target.id)
    table = tables.lines
    connection.execute(
        update(table)
        .where(table.c.id == group)
        .values(state=DROPPED, changed_unix_s=order.now_unix_s)
    )
    _count_moves(connection, (group, target.id))
    _write(connection, "merge", group, None, order, f"into {target.id}: {_some(ids)}")
    return target


def release_samples(connection: Connection, round_id: str, device_ids: Sequence[str]) -> int:
    """Give samples of `device_ids` back that an open round took; how many."""
    samples, places = tables.samples, tables.round_samples
    num = 0
    for some in _slices(device_ids):
        theirs = samples.c.device_id.in_(some)
        ids = select(samples.c.id).where(theirs)
        connection.execute(
            delete(places).where(places.c.round_id == round_id, places.c.sample_id.in_(ids))
        )
        mine = theirs & (samples.c.round_id == round_id) & (samples.c.state == USED)
        num += counts.move(connection, mine, WAITING, {"round_id": None})
    return num


def _join(
    connection: Connection,
    source: KnownLine,
    target: KnownLine,
    ids: Sequence[str],
    order: Order,
) -> None:
    """Move `ids` over; the line that they join gets a number above what they may hold."""
    for line in (source.id, target.id):
        if rows.owing(connection, line) is not None:
            raise DataError(
                f"a version of line {line} was stopped and is being replaced",
                fix="Ask again in a moment.",
            )
    shared = _shared_version(source, target)
    held = rows.newest_known(connection, source.id)
    if held > shared:
        table = tables.lines
        least = max(target.least_version, held + 1)
        connection.execute(update(table).where(table.c.id == target.id).values(least_version=least))
    _carry(connection, ids, source.id, target.id)
    newest = rows.newest_known(connection, target.id)
    _write(connection, "move", target.id, newest, order, f"from {source.id}: {_some(ids)}")


def _shared_version(one: KnownLine, other: KnownLine) -> int:
    """The last version that means the same bits on both lines of a family."""
    return min(row.forked_version for row in (one, other) if row.group)


def _carry(connection: Connection, ids: Sequence[str], source: str, target: str) -> None:
    """Devices, and their samples but those that an open round has."""
    devices, samples, apart = tables.devices, tables.samples, tables.quarantine
    rounds = tables.rounds
    running = connection.scalar(select(rounds.c.id).where(rounds.c.open_line == source))
    for some in _slices(ids):
        connection.execute(update(devices).where(devices.c.device_id.in_(some)).values(line=target))
        mine = samples.c.device_id.in_(some) & (samples.c.line == source)
        if running is not None:
            mine &= samples.c.round_id.is_distinct_from(running)
        counts.carry(connection, mine, target)
        connection.execute(
            update(apart)
            .where(apart.c.device_id.in_(some), apart.c.line == source)
            .values(line=target)
        )


def _why_not_now(connection: Connection, line: str) -> str:
    if rows.owing(connection, line) is not None:
        return "a version was stopped and is being replaced"
    on_way = rows.open_ones(connection, line)
    return f"version {on_way[0].version} is on its way" if on_way else ""


def _check_on(
    connection: Connection, ids: Sequence[str], lines: Sequence[str]
) -> dict[str, list[str]]:
    """The devices by their line, which must be one of `lines`."""
    if not ids:
        raise DataError("no device is named")
    devices = tables.devices
    found: dict[str, list[str]] = {}
    for some in _slices(ids):
        query = select(devices.c.line, devices.c.device_id).where(devices.c.device_id.in_(some))
        for line, device_id in connection.execute(query.order_by(devices.c.device_id)):
            found.setdefault(line, []).append(device_id)
    fitting = {line: own for line, own in found.items() if line in lines}
    wrong = set(ids) - {one for own in fitting.values() for one in own}
    if wrong:
        where = " or ".join(lines) or "another line of this pair"
        raise DataError(
            f"not on {where}: {_some(sorted(wrong))}",
            fix="`driftline cloud status` lists devices by line.",
        )
    return fitting


def _served(known: dict[str, KnownLine], line: str) -> KnownLine:
    row = known.get(line)
    if row is None or row.state == DROPPED:
        raise DataError(
            f"there is no line {visible(line)[:128]!r}"
            if row is None
            else f"line {line} was dropped",
            fix="`driftline cloud group list` shows them.",
        )
    return row


def _count_moves(connection: Connection, lines: Sequence[str]) -> None:
    table = tables.lines
    connection.execute(
        update(table).where(table.c.id.in_(lines)).values(num_moves=table.c.num_moves + 1)
    )


def _write(
    connection: Connection, action: str, line: str, version: int | None, order: Order, said: str
) -> None:
    write_entry(
        connection,
        now_unix_s=order.now_unix_s,
        who=order.who,
        action=action,
        line=line,
        version=version,
        detail="; ".join(one for one in (said, order.why) if one),
    )


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:MOST_NAMED]) + (", ..." if len(ids) > MOST_NAMED else "")
    return f"{len(ids)} devices ({shown})" if ids else "no devices"


def _slices(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _SOME] for start in range(0, len(ids), _SOME))
