"""How many samples there are, wait and are set apart: kept where they change, never counted anew.

Every change of a sample's state goes through `move`, every new sample through `add`, and either
changes the counters in the same transaction, so that they are as right as the samples are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from driftline_cloud.intake import tables
from driftline_cloud.intake.writing.bulk import add_to_rows, select_rows

WAITING, USED, DROPPED, QUARANTINED = "waiting", "used", "dropped", "quarantined"
"""States of a sample."""

ALL = ""
"""In the place of a device: all devices of a line."""

_table = tables.sample_counts
_KEY = ("line", "device_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Samples of a line, or of one of its devices."""

    num_samples: int = 0
    num_waiting: int = 0
    num_quarantined: int = 0


def of_line(connection: Connection, line: str) -> Counts:
    """The counts of all devices of a line."""
    return of_device(connection, line, ALL)


def of_device(connection: Connection, line: str, device_id: str) -> Counts:
    """The counts of one device."""
    row = (
        connection.execute(
            select(_table.c.num_samples, _table.c.num_waiting, _table.c.num_quarantined).where(
                _table.c.line == line, _table.c.device_id == device_id
            )
        )
        .mappings()
        .one_or_none()
    )
    return Counts() if row is None else Counts(**row)


def waiting_by_device(connection: Connection, line: str) -> dict[str, int]:
    """How many samples of each device wait, of those that have any."""
    query = select(_table.c.device_id, _table.c.num_waiting).where(
        _table.c.line == line, _table.c.num_waiting > 0, _table.c.device_id != ALL
    )
    return {str(device): count for device, count in connection.execute(query)}


def waiting_of(
    connection: Connection, keys: Sequence[tuple[str, str]]
) -> defaultdict[tuple[str, str], int]:
    """How many samples wait, by line and device (or `ALL`); 0 where none is known."""
    rows = select_rows(connection, _table, (*_KEY, "num_waiting"), _KEY, keys)
    return defaultdict(int, {(line, device_id): num for line, device_id, num in rows})


def add(connection: Connection, line: str, new: Mapping[str, int]) -> None:
    """Note that so many new ones of each device wait."""
    changes = {
        (line, device_id): Counts(num_samples=num, num_waiting=num)
        for device_id, num in {**new, ALL: sum(new.values())}.items()
    }
    _change(connection, changes)


def move(
    connection: Connection,
    where: ColumnElement[bool],
    to: str,
    values: Mapping[str, Any] | None = None,
) -> int:
    """Bring the samples of `where` into the state `to`, with other `values`; how many there are."""
    found = _counted(connection, where)
    connection.execute(update(tables.samples).where(where).values(state=to, **(values or {})))
    totals: dict[tuple[str, str], Counts] = {}
    for line, device_id, state, count in found:
        for key in ((line, device_id), (line, ALL)):
            before = totals.get(key, Counts())
            totals[key] = Counts(
                num_waiting=before.num_waiting + count * ((to == WAITING) - (state == WAITING)),
                num_quarantined=before.num_quarantined
                + count * ((to == QUARANTINED) - (state == QUARANTINED)),
            )
    _change(connection, {key: change for key, change in totals.items() if change != Counts()})
    return sum(count for _, _, _, count in found)


def carry(connection: Connection, where: ColumnElement[bool], to_line: str) -> int:
    """Put the samples of `where` on the line `to_line`, as they are; how many there are."""
    found = _counted(connection, where)
    connection.execute(update(tables.samples).where(where).values(line=to_line))
    totals: dict[tuple[str, str], Counts] = {}
    for line, device_id, state, count in found:
        for place, sign in ((line, -count), (to_line, count)):
            for key in ((place, device_id), (place, ALL)):
                before = totals.get(key, Counts())
                totals[key] = Counts(
                    num_samples=before.num_samples + sign,
                    num_waiting=before.num_waiting + sign * (state == WAITING),
                    num_quarantined=before.num_quarantined + sign * (state == QUARANTINED),
                )
    _change(connection, {key: change for key, change in totals.items() if change != Counts()})
    return sum(count for _, _, _, count in found)


def remove(connection: Connection, where: ColumnElement[bool]) -> None:
    """Forget the samples of `where` altogether."""
    found = _counted(connection, where)
    connection.execute(delete(tables.samples).where(where))
    for line, device_id, state, count in found:
        change = Counts(
            num_samples=-count,
            num_waiting=-count * (state == WAITING),
            num_quarantined=-count * (state == QUARANTINED),
        )
        _change(connection, {(line, device_id): change, (line, ALL): change})


def _counted(connection: Connection, where: ColumnElement[bool]) -> list[tuple[str, str, str, int]]:
    """Line, device and state of the samples of `where`, and how many there are of each."""
    table = tables.samples
    keys = (table.c.line, table.c.device_id, table.c.state)
    rows = connection.execute(select(*keys, func.count()).where(where).group_by(*keys))
    return [(line, device_id, state, int(count)) for line, device_id, state, count in rows]


def recount(connection: Connection) -> list[tuple[str, str]]:
    """The (line, device) whose counters are not what counting gives; for a check, it is slow."""
    table = tables.samples
    states = {"num_waiting": WAITING, "num_quarantined": QUARANTINED}
    columns = [
        func.count().label("num_samples"),
        *(
            func.count().filter(table.c.state == state).label(name)
            for name, state in states.items()
        ),
    ]
    real: dict[tuple[str, str], Counts] = {}
    of_lines = select(table.c.line, *columns).group_by(table.c.line)
    of_devices = select(table.c.line, table.c.device_id, *columns).group_by(
        table.c.line, table.c.device_id
    )
    for row in connection.execute(of_lines):
        real[(row[0], ALL)] = Counts(num_samples=row[1], num_waiting=row[2], num_quarantined=row[3])
    for row in connection.execute(of_devices):
        real[(row[0], row[1])] = Counts(
            num_samples=row[2], num_waiting=row[3], num_quarantined=row[4]
        )
    kept = {
        (row.line, row.device_id): Counts(
            num_samples=row.num_samples,
            num_waiting=row.num_waiting,
            num_quarantined=row.num_quarantined,
        )
        for row in connection.execute(select(_table))
    }
    keys: Iterable[tuple[str, str]] = sorted(real.keys() | kept.keys())
    return [key for key in keys if real.get(key, Counts()) != kept.get(key, Counts())]


def _change(connection: Connection, changes: Mapping[tuple[str, str], Counts]) -> None:
    names = tuple(field.name for field in fields(Counts))
    rows = [(*key, *astuple(change)) for key, change in changes.items()]
    add_to_rows(connection, _table, _KEY, names, rows)
