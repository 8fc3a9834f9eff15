"""Devices as the cloud knows them: enrolment, what they run, what they reported, their policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, insert, select, update

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_shared.status import DeviceStatus, Enrolment, UpdateReport
from driftline_shared.tokens import SamplingPolicy

_REPORT = TypeAdapter(UpdateReport)


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

    def __init__(self, database: Database) -> None:
        self._database = database

    def enrol(self, enrolment: Enrolment, line: str, *, now_unix_s: int) -> Device:
        """Know the device from now on; enrolling again refreshes what it runs."""
        fresh = {
            "line": line,
            "token_space": enrolment.token_space,
            "base_model": enrolment.base_model,
            "adapter_version": enrolment.adapter_version,
            "last_seen_unix_s": now_unix_s,
        }
        with self._database.write() as connection:
            if _find(connection, enrolment.device_id) is None:
                connection.execute(
                    insert(tables.devices).values(
                        device_id=enrolment.device_id,
                        enrolled_unix_s=now_unix_s,
                        last_report="",
                        **fresh,
                    )
                )
            else:
                _update(connection, enrolment.device_id, fresh)
            found = _find(connection, enrolment.device_id)
        assert found is not None  # written in this transaction
        return found

    def find(self, device_id: str) -> Device | None:
        """The device of that id, if it enrolled."""
        with self._database.read() as connection:
            return _find(connection, device_id)

    def seen(self, device_id: str, *, now_unix_s: int, adapter_version: int | None = None) -> None:
        """Note a sign of life, and what the device runs where it is known."""
        values: dict[str, Any] = {"last_seen_unix_s": now_unix_s}
        if adapter_version is not None:
            values["adapter_version"] = adapter_version
        with self._database.write() as connection:
            _update(connection, device_id, values)

    def of_line(self, line: str, *, limit: int = 1_000) -> tuple[DeviceStatus, ...]:
        """At most `limit` devices of a line, last seen first."""
        query = (
            select(*(tables.devices.c[field.name] for field in fields(DeviceStatus)))
            .where(tables.devices.c.line == line)
            .order_by(tables.devices.c.last_seen_unix_s.desc(), tables.devices.c.device_id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(DeviceStatus(**row) for row in connection.execute(query).mappings())

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


def _find(connection: Connection, device_id: str) -> Device | None:
    query = select(tables.devices).where(tables.devices.c.device_id == device_id)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Device(**row)


def _update(connection: Connection, device_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(
        update(tables.devices).where(tables.devices.c.device_id == device_id).values(**values)
    )
