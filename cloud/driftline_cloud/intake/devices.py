"""Devices as the cloud knows them: enrolment, what they run, what they reported, their policy."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import say, writing
from driftline_cloud.intake.writing.bulk import update_rows
from driftline_cloud.intake.writing.turns import SharedTurns
from driftline_shared.errors import Reason
from driftline_shared.status import DeviceStatus, Enrolment, UpdateOutcome, UpdateReport
from driftline_shared.tokens import SamplingPolicy

_REPORT = TypeAdapter(UpdateReport)

FLUSH_S = 5.0
"""Seconds that signs of life stay in memory at most, while there are any."""

MOST_SIGNS = 2_000
"""Signs of life that are written together at most."""

MOST_TOGETHER = 64
"""Enrolments in one transaction."""

MOST_KNOWN = 50_000
"""Devices that are kept in memory; those enrolled longest ago go first."""

GRANT_EVERY_S = 86_400
"""A device gets a full update for another base once in so many seconds: a report costs nothing,
and whoever knows a device's id can send one.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One enrolled device."""

    device_id: str
    line: str
    token_space: str
    base_model: str
    adapter_version: int
    enrolled_unix_s: int
    last_seen_unix_s: int
    last_report: str


class DeviceRegister:
    """The devices of a cloud, their reports, and the policy of each line."""

    def __init__(
        self, database: Database, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._writing = writing("signs of life")
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Device] = OrderedDict()
        self._seen: dict[str, tuple[int, int]] = {}
        self._num_forgotten = 0
        self._flushed_s = monotonic_s()
        self._enrolling: SharedTurns[tuple[Enrolment, str, str, int], Device] = SharedTurns(
            self._enrol_all, most=MOST_TOGETHER
        )

    def enrol(
        self, enrolment: Enrolment, line: str, *, now_unix_s: int, was_on: str = ""
    ) -> Device:
        """Know the device from now on; enrolling again refreshes what it runs. One that is not on
        `was_on` any more, by which `line` was chosen, was moved meanwhile, and stays there.
        """
        found = self._enrolling.do((enrolment, line, was_on, now_unix_s))
        self._remember(found)
        return found

    def _enrol_all(self, jobs: Sequence[tuple[Enrolment, str, str, int]]) -> list[Device]:
        """Several devices in one transaction: a fleet that comes back enrols at one time."""
        with self._database.write() as connection:
            return [_enrol(connection, *job) for job in jobs]

    def find(self, device_id: str) -> Device | None:
        """The device of that id, if it enrolled; known ones are not read again."""
        with self._lock:
            known, num_forgotten = self._known.get(device_id), self._num_forgotten
        if known is not None:
            return known
        with self._database.read() as connection:
            found = _find(connection, device_id)
        if found is not None:
            self._remember(found, num_forgotten)
        return found

    def line_of(self, device_id: str) -> str:
        """The line that its row says, whatever is in memory; empty: it never enrolled."""
        query = select(tables.devices.c.line).where(tables.devices.c.device_id == device_id)
        with self._database.read() as connection:
            return str(connection.scalar(query) or "")

    def known(self, device_id: str) -> Device | None:
        """The device of that id, if it is in memory; never waits for the database."""
        with self._lock:
            return self._known.get(device_id)

    def seen(self, device_id: str, *, now_unix_s: int, adapter_version: int | None = None) -> None:
        """Note a sign of life, and what the device runs where it is known.

        Signs are kept in memory and written together, at least every `FLUSH_S` while there are any:
        a kill loses that much of them and nothing else.
        """
        found = self.find(device_id)
        if found is None:
            return
        self.note(found, now_unix_s=now_unix_s, adapter_version=adapter_version)
        self.flush_if_due()

    def note(self, device: Device, *, now_unix_s: int, adapter_version: int | None = None) -> None:
        """As `seen` for a device that was found, and only in memory: somebody calls `flush_if_due`
        soon.
        """
        version = device.adapter_version if adapter_version is None else adapter_version
        with self._lock:
            if (device.last_seen_unix_s, device.adapter_version) != (now_unix_s, version):
                self._renew(device.device_id, last_seen_unix_s=now_unix_s, adapter_version=version)
            self._seen[device.device_id] = (now_unix_s, version)

    def flush_if_due(self) -> None:
        """Write the signs of life if they are old or many; what the disk does not take, later."""
        with self._lock:
            is_due = (
                self._monotonic_s() - self._flushed_s >= FLUSH_S or len(self._seen) >= MOST_SIGNS
            )
        if is_due:
            self._try_to_flush()

    def forget(self) -> None:
        """Read every device again when it is next asked for: some are on other lines by now."""
        self._try_to_flush()
        with self._lock:
            self._known.clear()
            self._num_forgotten += 1

    def close(self) -> None:
        """Write what is in memory; what the disk does not take is lost."""
        self._try_to_flush()

    def _try_to_flush(self) -> None:
        try:
            self.flush()
        except SQLAlchemyError as error:
            # A sign of life is not worth a failed call; the next one tries again.
            say(self._writing, error, self._database.place)

    def flush(self) -> None:
        """Write the signs of life that are in memory, in one transaction."""
        with self._lock:
            signs, self._seen = self._seen, {}
            self._flushed_s = self._monotonic_s()
        if not signs:
            return
        names = ("last_seen_unix_s", "adapter_version")
        rows = [(device, *sign) for device, sign in signs.items()]
        try:
            with self._database.write() as connection:
                update_rows(connection, tables.devices, ("device_id",), names, rows)
        except BaseException:
            with self._lock:
                self._seen = {**signs, **self._seen}
            raise
        self._writing.is_over()

    def count(self, line: str) -> int:
        """How many devices of a line have enrolled."""
        query = select(func.count()).where(tables.devices.c.line == line)
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)

    def by_version(self, line: str) -> dict[int, int]:
        """How many devices of a line run each version."""
        table = tables.devices
        query = (
            select(table.c.adapter_version, func.count())
            .where(table.c.line == line)
            .group_by(table.c.adapter_version)
        )
        self._try_to_flush()
        with self._database.read() as connection:
            return {int(version): int(count) for version, count in connection.execute(query)}

    def of_line(
        self, line: str, *, limit: int = 1_000, offset: int = 0
    ) -> tuple[DeviceStatus, ...]:
        """At most `limit` devices of a line, what is stuck first: those whose last update did not
        go well, then those that were not seen for longest.
        """
        table = tables.devices
        query = (
            select(*(table.c[field.name] for field in fields(DeviceStatus)))
            .where(table.c.line == line)
            .order_by(*stuck_first())
            .limit(limit)
            .offset(offset)
        )
        self._try_to_flush()
        with self._database.read() as connection:
            return tuple(DeviceStatus(**row) for row in connection.execute(query).mappings())

    def grant_full(self, device_id: str, *, now_unix_s: int) -> bool:
        """Let the device have full updates until its next report, at most once in `GRANT_EVERY_S`;
        whether it may.
        """
        table = tables.full_grants
        with self._database.write() as connection:
            last = connection.scalar(
                select(table.c.granted_unix_s).where(table.c.device_id == device_id)
            )
            if last is not None and now_unix_s - int(last) < GRANT_EVERY_S:
                return False
            connection.execute(delete(table).where(table.c.device_id == device_id))
            connection.execute(
                insert(table).values(device_id=device_id, granted_unix_s=now_unix_s, is_open=1)
            )
        return True

    def has_grant(self, device_id: str) -> bool:
        """Whether the device may have a full update now."""
        table = tables.full_grants
        query = select(table.c.is_open).where(table.c.device_id == device_id)
        with self._database.read() as connection:
            return bool(connection.scalar(query))

    def _renew(self, device_id: str, **changes: Any) -> None:
        """Change what is in memory, under the lock: its line is not the caller's to say."""
        known = self._known.get(device_id)
        if known is not None:
            self._known[device_id] = replace(known, **changes)

    def _remember(self, device: Device, num_forgotten: int | None = None) -> None:
        """Keep in memory, unless all was forgotten since it was read."""
        with self._lock:
            if num_forgotten not in (None, self._num_forgotten):
                return
            self._known[device.device_id] = device
            self._known.move_to_end(device.device_id)
            self._seen.pop(device.device_id, None)
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)

    def add_report(
        self, device: Device, report: UpdateReport, *, adapter_version: int, now_unix_s: int
    ) -> None:
        """Keep how an update ended; `adapter_version` is what the device runs after it."""
        summary = f"{report.outcome} {report.version}: {report.reason}"[:256]
        with self._database.write() as connection:
            connection.execute(
                insert(tables.reports).values(
                    **_REPORT.dump_python(report, mode="json"),
                    device_id=device.device_id,
                    line=device.line,
                    received_unix_s=now_unix_s,
                )
            )
            _update(
                connection,
                device.device_id,
                {
                    "last_report": summary,
                    "last_seen_unix_s": now_unix_s,
                    "adapter_version": adapter_version,
                },
            )
            if report.reason != Reason.BASE_MISMATCH:
                table = tables.full_grants
                connection.execute(
                    update(table).where(table.c.device_id == device.device_id).values(is_open=0)
                )
        with self._lock:
            self._seen.pop(device.device_id, None)
            self._renew(
                device.device_id,
                last_report=summary,
                last_seen_unix_s=now_unix_s,
                adapter_version=adapter_version,
            )

    def reports(self, device_id: str, *, limit: int = 100) -> list[UpdateReport]:
        """The last reports of a device, newest first."""
        query = (
            select(tables.reports)
            .where(tables.reports.c.device_id == device_id)
            .order_by(tables.reports.c.sequence.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [
                _REPORT.validate_python(dict(row)) for row in connection.execute(query).mappings()
            ]

    def put_policy(self, line: str, policy: SamplingPolicy) -> SamplingPolicy:
        """Keep the policy of a line; its revision rises when, and only when, it differs."""
        body = {k: v for k, v in asdict(policy).items() if k != "revision"}
        with self._database.write() as connection:
            known = connection.execute(
                select(tables.policies.c.revision, tables.policies.c.policy).where(
                    tables.policies.c.line == line
                )
            ).one_or_none()
            if known is None:
                connection.execute(
                    insert(tables.policies).values(line=line, revision=1, policy=body)
                )
                return replace(policy, revision=1)
            if known.policy == body:
                return replace(policy, revision=known.revision)
            connection.execute(
                update(tables.policies)
                .where(tables.policies.c.line == line)
                .values(revision=known.revision + 1, policy=body)
            )
            return replace(policy, revision=known.revision + 1)


def stuck_first() -> tuple[ColumnElement[Any], ...]:
    """An order of devices: those whose last update did not go well, then those that were not seen
    for longest.
    """
    table = tables.devices
    applied = f"{UpdateOutcome.APPLIED} "
    is_well = (table.c.last_report == "") | table.c.last_report.startswith(applied)
    return is_well, table.c.last_seen_unix_s, table.c.device_id


_FIND = select(tables.devices).where(tables.devices.c.device_id == bindparam("of_device"))
_INSERT = insert(tables.devices)
_REFRESHED = ("line", "token_space", "base_model", "adapter_version", "last_seen_unix_s")
_REFRESH = (
    update(tables.devices)
    .where(tables.devices.c.device_id == bindparam("of_device"))
    .values({name: bindparam(f"new_{name}") for name in _REFRESHED})
)


def _enrol(
    connection: Connection, enrolment: Enrolment, line: str, was_on: str, now_unix_s: int
) -> Device:
    known = _find(connection, enrolment.device_id)
    was_moved = was_on and known is not None and known.line != was_on
    found = Device(
        device_id=enrolment.device_id,
        line=known.line if was_moved and known is not None else line,
        token_space=enrolment.token_space,
        base_model=enrolment.base_model,
        adapter_version=enrolment.adapter_version,
        enrolled_unix_s=now_unix_s if known is None else known.enrolled_unix_s,
        last_seen_unix_s=now_unix_s,
        last_report="" if known is None else known.last_report,
    )
    values = asdict(found)
    if known is None:
        connection.execute(_INSERT, values)
    else:
        fresh = {f"new_{name}": values[name] for name in _REFRESHED}
        connection.execute(_REFRESH, {"of_device": found.device_id, **fresh})
    return found


def _find(connection: Connection, device_id: str) -> Device | None:
    row = connection.execute(_FIND, {"of_device": device_id}).mappings().one_or_none()
    return None if row is None else Device(**row)


def _update(connection: Connection, device_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(
        update(tables.devices).where(tables.devices.c.device_id == device_id).values(**values)
    )
