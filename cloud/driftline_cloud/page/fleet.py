"""Devices, their corrections and what is in quarantine, read from the cloud's database."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from driftline_cloud.corrections.store import ANSWERED, WAITING
from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import stuck_first
from driftline_cloud.page.values import (
    ApartFacts,
    Asked,
    CorrectionFacts,
    DeviceDetail,
    DeviceFacts,
    ReportFacts,
)
from driftline_cloud.rollout.rows import newest_known
from driftline_cloud.rollout.store import Reach, RolloutStore
from driftline_shared.errors import Reason, explain
from driftline_shared.host.clock import Clock
from driftline_shared.status import UpdateOutcome

UNSEEN_S = 86_400
"""A device that was not seen for so long is held by its link."""

MOST_REPORTS = 50
MOST_WAITING_DEVICES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What a line offers: `newest` and whom it `reaches`."""

    newest: int
    reach: Reach

    def version_for(self, device_id: str) -> int:
        """The best version that the device may have now; -1: none."""
        return max(self.reach.versions_for(device_id), default=-1)


def held_by(device_id: str, version: int, report: str, unseen_s: float, offer: Offer) -> str:
    """Why a device does not run what it is offered, as a sentence; empty: it does, or soon will."""
    outcome, _, rest = report.partition(" ")
    of_version, _, reason = rest.partition(": ")
    held = ""
    if report and outcome != UpdateOutcome.APPLIED:
        known = reason in set(Reason)
        why = explain(Reason(reason)) if known else reason or "It does not say why."
        held = f"Update {of_version} {outcome.replace('_', ' ')}. {why}"
    offered = offer.version_for(device_id)
    if unseen_s >= UNSEEN_S:
        return f"Not seen for {int(unseen_s // 86_400)} days. {held}".strip()
    if held:
        return held
    if offered < 0:
        return "Its line offers nothing until an earlier version is released again."
    if version < offered:
        return f"Behind: it has version {version}, {offered} is offered."
    if version < offer.newest:
        return f"Version {offer.newest} has not come to its phase yet."
    return ""


class FleetReader:
    """What a page shows of devices and samples; reads alone."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._rollouts = RolloutStore(database)

    def devices(self, asked: Asked) -> tuple[int, tuple[DeviceFacts, ...]]:
        """How many there are, and those asked for: stuck ones first."""
        table = tables.devices
        chosen = []
        if asked.line:
            chosen.append(table.c.line == asked.line)
        if asked.search:
            chosen.append(table.c.device_id.contains(asked.search, autoescape=True))
        query = (
            select(table)
            .where(*chosen)
            .order_by(*stuck_first())
            .limit(asked.limit)
            .offset(asked.offset)
        )
        with self._database.read() as connection:
            total = connection.scalar(select(func.count()).select_from(table).where(*chosen))
            rows = connection.execute(query).all()
        return int(total or 0), self._with_holds(rows)

    def device(self, device_id: str) -> DeviceDetail | None:
        """One device, if it enrolled."""
        table, reports = tables.devices, tables.reports
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.device_id == device_id)).first()
            if row is None:
                return None
            count = counts.of_device(connection, row.line, device_id)
            said = connection.execute(
                select(
                    reports.c.version,
                    reports.c.outcome,
                    reports.c.reason,
                    reports.c.detail,
                    reports.c.received_unix_s,
                )
                .where(reports.c.device_id == device_id)
                .order_by(reports.c.sequence.desc())
                .limit(MOST_REPORTS)
            ).mappings()
            found = tuple(ReportFacts(**one) for one in said)
        return DeviceDetail(
            device=self._with_holds([row])[0],
            reports=found,
            num_samples=count.num_samples,
            num_waiting=count.num_waiting,
            num_quarantined=count.num_quarantined,
        )

    def apart(self, asked: Asked) -> tuple[int, tuple[ApartFacts, ...]]:
        """How many samples are in quarantine, and those asked for, newest first."""
        table = tables.quarantine
        chosen = [table.c.line == asked.line] if asked.line else []
        query = (
            select(table)
            .where(*chosen)
            .order_by(table.c.quarantined_unix_s.desc(), table.c.sample_id)
            .limit(asked.limit)
            .offset(asked.offset)
        )
        with self._database.read() as connection:
            total = connection.scalar(select(func.count()).select_from(table).where(*chosen))
            rows = connection.execute(query).mappings().all()
        return int(total or 0), tuple(
            ApartFacts(**{**row, "sample_id": bytes(row["sample_id"]).hex()}) for row in rows
        )

    def corrections(self) -> CorrectionFacts:
        """Who waits for the teacher, and what waits for its device."""
        table = tables.corrections
        waiting = table.c.state == WAITING
        asked_first = func.min(table.c.asked_unix_s)
        by_device = (
            select(table.c.device_id, func.count(), asked_first)
            .where(waiting)
            .group_by(table.c.device_id)
            .order_by(asked_first)
            .limit(MOST_WAITING_DEVICES)
        )
        given_up = (
            select(table.c.reason, func.count())
            .where(table.c.state == ANSWERED, table.c.reason != "")
            .group_by(table.c.reason)
        )
        with self._database.read() as connection:
            totals = {
                str(state): int(num)
                for state, num in connection.execute(
                    select(table.c.state, func.count()).group_by(table.c.state)
                )
            }
            devices = tuple(
                (str(device), int(num), int(first))
                for device, num, first in connection.execute(by_device)
            )
            no_answer = {str(why): int(num) for why, num in connection.execute(given_up)}
        return CorrectionFacts(
            num_waiting=totals.get(WAITING, 0),
            num_answered=totals.get(ANSWERED, 0),
            oldest_unix_s=devices[0][2] if devices else 0,
            devices=devices,
            no_answer=no_answer,
        )

    def _with_holds(self, rows: object) -> tuple[DeviceFacts, ...]:
        assert isinstance(rows, list | tuple)
        now_s = self._clock.now_s()
        offers: dict[str, Offer] = {}
        found = []
        for row in rows:
            if row.line not in offers:
                with self._database.read() as connection:
                    newest = newest_known(connection, row.line)
                reach = self._rollouts.reach(row.line, newest)
                offers[row.line] = Offer(newest=newest, reach=reach)
            found.append(
                DeviceFacts(
                    device_id=row.device_id,
                    line=row.line,
                    adapter_version=row.adapter_version,
                    enrolled_unix_s=row.enrolled_unix_s,
                    last_seen_unix_s=row.last_seen_unix_s,
                    last_report=row.last_report,
                    held=held_by(
                        row.device_id,
                        row.adapter_version,
                        row.last_report,
                        now_s - row.last_seen_unix_s,
                        offers[row.line],
                    ),
                )
            )
        return tuple(found)
