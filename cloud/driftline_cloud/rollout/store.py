"""Rollouts of a cloud to look at: for those who serve devices, for pages and commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.rollout import rows
from driftline_cloud.rollout.audit import AuditEntry, entries
from driftline_cloud.rollout.rollout import Rollout, RolloutState
from driftline_cloud.rollout.rule import Decision, Evidence, judge
from driftline_shared.status import RolloutStatus

_HELD_SAID = {
    RolloutState.AWAITING: "waits for approval",
    RolloutState.PAUSED: "is paused",
    RolloutState.ROLLING: "is on its way",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """Whom the versions of a line may reach now.

    `settled`: everyone's. `open_version`: on its way to `members`; None in `members`: to everyone.
    `is_closed`: nobody is offered anything until an earlier version has been released again.
    """

    settled: int
    open_version: int | None = None
    members: frozenset[str] | None = frozenset()
    is_closed: bool = False

    def versions_for(self, device_id: str) -> tuple[int, ...]:
        """What this device may be offered, best first."""
        if self.is_closed:
            return ()
        if self.open_version is None or (
            self.members is not None and device_id not in self.members
        ):
            return (self.settled,)
        return (self.open_version, self.settled)


def what_waits(rollout: Rollout, evidence: Evidence, *, now_unix_s: int) -> str:
    """What a rollout of that `evidence` waits for, in words; empty: it does not."""
    if rollout.state is not RolloutState.ROLLING:
        return ""
    elapsed_s = now_unix_s - rollout.phase_unix_s
    verdict = judge(evidence, rollout.plan, rollout.phase, elapsed_s=elapsed_s)
    return verdict.reason if verdict.decision is Decision.WAIT else ""


class RolloutStore:
    """Reads of rollouts and of the log of who did what; `RolloutOrders` changes them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def get(self, line: str, version: int) -> Rollout | None:
        """The rollout of a version; None if it has no row: it is everyone's."""
        with self.database.read() as connection:
            return rows.get(connection, line, version)

    def newest(self, line: str, *, limit: int = 100, offset: int = 0) -> list[Rollout]:
        """The rollouts of a line, newest version first."""
        table = tables.rollouts
        with self.database.read() as connection:
            found = rows.find(connection, table.c.line == line, limit=limit + offset)
        return found[offset:]

    def open_one(self, line: str) -> Rollout | None:
        """The newest rollout that is on its way, if any."""
        with self.database.read() as connection:
            found = rows.open_ones(connection, line)
        return found[0] if found else None

    def owing(self, line: str) -> Rollout | None:
        """The stopped rollout in whose place an earlier version is yet to be released, if any."""
        with self.database.read() as connection:
            return rows.owing(connection, line)

    def number_owed(self, line: str) -> int:
        """The number that the newest version of the line must have, as devices joined it that may
        hold as high a one; 0: any will do, or a round or a rollout is open, which must end first.
        """
        with self.database.read() as connection:
            return rows.number_owed(connection, line)

    def reach(self, line: str, newest: int) -> Reach:
        """Whom the versions up to `newest`, which are there, may reach now."""
        with self.database.read() as connection:
            if rows.owing(connection, line) is not None:
                return Reach(settled=0, is_closed=True)
            settled = rows.settled(connection, line, newest)
            for one in rows.open_ones(connection, line):
                if one.state is RolloutState.ROLLING and settled < one.version <= newest:
                    members = (
                        None
                        if one.now.share >= 1.0
                        else rows.members(connection, line, one.version)
                    )
                    return Reach(settled=settled, open_version=one.version, members=members)
        return Reach(settled=settled)

    def members(self, line: str, version: int) -> frozenset[str]:
        """The devices that its phases before the last may reach, while it is on its way."""
        with self.database.read() as connection:
            return rows.members(connection, line, version)

    def evidence(self, rollout: Rollout) -> Evidence:
        """What the devices it may reach last reported of it."""
        with self.database.read() as connection:
            return rows.evidence(connection, rollout)

    def status(self, line: str, *, now_unix_s: int) -> RolloutStatus | None:
        """How far the newest version of the line has got that has a rollout."""
        newest = self.newest(line, limit=1)
        if not newest:
            return None
        rollout = newest[0]
        seen = self.evidence(rollout)
        waits = what_waits(rollout, seen, now_unix_s=now_unix_s)
        return RolloutStatus(
            version=rollout.version,
            state=str(rollout.state),
            phase=rollout.phase + 1,
            num_phases=max(1, len(rollout.plan.phases)),
            share=rollout.share,
            num_devices=rollout.num_devices,
            num_reported=seen.num_reported,
            num_bad=seen.num_bad,
            reason=f"waits {waits}" if waits else rollout.reason,
        )

    def why_held(self, line: str, newest: int, *, now_unix_s: int, most_s: float) -> str:
        """Why no round should start on the line now; empty: one may.

        A version that is on its way may turn out bad, and with it what was built on it. It is
        waited for `most_s` at most.
        """
        with self.database.read() as connection:
            stopped = rows.owing(connection, line)
            if stopped is not None:
                return (
                    f"version {stopped.version} was stopped, version {stopped.restore_to} is being "
                    "released again"
                )
            least = rows.number_owed(connection, line)
            if least > newest:
                return f"devices joined the line, which gets version {least} for them first"
            for one in rows.open_ones(connection, line):
                if one.version <= newest and now_unix_s - one.created_unix_s < most_s:
                    return f"version {one.version} {_HELD_SAID[one.state]}"
        return ""

    def log(self, *, line: str = "", limit: int = 100, offset: int = 0) -> list[AuditEntry]:
        """Who did what, newest first; of every line where `line` is empty."""
        return entries(self.database, line=line, limit=limit, offset=offset)

    def lines(self) -> list[str]:
        """Every line that was served, or has devices or versions, by name."""
        found: set[Any] = set()
        with self.database.read() as connection:
            for table in (
                tables.policies, tables.devices, tables.versions, tables.rounds, tables.rollouts,
            ):  # fmt: skip
                found |= set(connection.execute(select(table.c.line).distinct()).scalars())
        return sorted(found)

    def holding(self, line: str) -> dict[int, int]:
        """How many devices of the line hold each version, as they last said."""
        table = tables.devices
        query = (
            select(table.c.adapter_version, func.count())
            .where(table.c.line == line)
            .group_by(table.c.adapter_version)
        )
        with self.database.read() as connection:
            return {int(version): int(count) for version, count in connection.execute(query)}
