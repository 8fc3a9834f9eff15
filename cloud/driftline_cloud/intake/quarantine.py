"""Samples set apart because no round can work on them: with the reason, until an operator decides.

A sample in quarantine is no part of any round and never waits again by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.counts import DROPPED, QUARANTINED, WAITING
from driftline_cloud.intake.database import Database
from driftline_shared.errors import DriftlineError, Reason

MAX_DETAIL_CHARS = 1_000

LET_IN = "let_in"
"""In the place of a sample's part in a round: set apart by it, and released by an operator."""

_IDS_PER_QUERY = 500
"""SQLite bounds the number of variables of one statement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Why one sample cannot be worked on."""

    sample_id: bytes
    reason: str
    detail: str

    @classmethod
    def of(cls, sample_id: bytes, error: Exception) -> Fault:
        """The fault that `error` tells of."""
        ours = isinstance(error, DriftlineError)
        text = str(error) if ours else f"{type(error).__name__}: {error}"
        reason = error.reason if isinstance(error, DriftlineError) else Reason.INTERNAL
        return cls(sample_id=sample_id, reason=str(reason), detail=text[:MAX_DETAIL_CHARS])


@dataclass(frozen=True, kw_only=True, slots=True)
class SetApart:
    """One sample in quarantine."""

    sample_id: bytes
    line: str
    device_id: str
    round_id: str
    reason: str
    detail: str
    quarantined_unix_s: int


class Quarantine:
    """The samples of a cloud that are set apart."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, faults: Sequence[Fault], *, round_id: str, now_unix_s: int) -> None:
        """Set the samples of `faults` apart and take them out of the round, all in one step."""
        with self._database.write() as connection:
            for fault in faults:
                _put(connection, fault, round_id, now_unix_s)

    def of_line(self, line: str, *, limit: int = 1_000, offset: int = 0) -> list[SetApart]:
        """What is set apart on a line, newest first."""
        table = tables.quarantine
        query = (
            select(table)
            .where(table.c.line == line)
            .order_by(table.c.quarantined_unix_s.desc(), table.c.sample_id)
            .limit(limit)
            .offset(offset)
        )
        with self._database.read() as connection:
            return [SetApart(**row) for row in connection.execute(query).mappings()]

    def find(self, sample_id: bytes) -> SetApart | None:
        """The entry of one sample, if it is set apart."""
        query = select(tables.quarantine).where(tables.quarantine.c.sample_id == sample_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else SetApart(**row)

    def count(self, line: str) -> int:
        """How many are set apart on a line."""
        with self._database.read() as connection:
            return counts.of_line(connection, line).num_quarantined

    def ids(self) -> list[bytes]:
        """Every id that is set apart."""
        with self._database.read() as connection:
            return [
                bytes(one)
                for one in connection.execute(select(tables.quarantine.c.sample_id)).scalars()
            ]

    def release(self, ids: Sequence[bytes]) -> int:
        """Let samples wait for a round again, by order of an operator; how many did. No screen sets
        them apart once more.
        """
        return self._leave(ids, WAITING, {"round_id": None}, let_in=True)

    def let_in(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of `ids` that an operator released."""
        of_round, found = tables.round_samples, set[bytes]()
        with self._database.read() as connection:
            for start in range(0, len(ids), _IDS_PER_QUERY):
                some = of_round.c.sample_id.in_(ids[start : start + _IDS_PER_QUERY])
                query = select(of_round.c.sample_id).where(some, of_round.c.part == LET_IN)
                found.update(bytes(one) for one in connection.execute(query).scalars())
        return found

    def drop(self, ids: Sequence[bytes]) -> int:
        """Forget the bytes of samples, by order of an operator; how many went. Ids stay known."""
        return self._leave(ids, DROPPED, {"body": b"", "num_bytes": 0})

    def _leave(
        self, ids: Sequence[bytes], to: str, values: dict[str, object], *, let_in: bool = False
    ) -> int:
        samples, table = tables.samples, tables.quarantine
        count = 0
        with self._database.write() as connection:
            for one in ids:
                own = (samples.c.id == one) & (samples.c.state == QUARANTINED)
                num = counts.move(connection, own, to, values)
                count += num
                if let_in and num:
                    _note_let_in(connection, one)
                connection.execute(delete(table).where(table.c.sample_id == one))
        return count


def _note_let_in(connection: Connection, sample_id: bytes) -> None:
    """With the round that set it apart, of which it is no part any more."""
    table = tables.quarantine
    round_id = connection.scalar(select(table.c.round_id).where(table.c.sample_id == sample_id))
    row = {"round_id": round_id, "sample_id": sample_id, "part": LET_IN, "place": 0}
    if connection.scalar(select(tables.rounds.c.id).where(tables.rounds.c.id == round_id)):
        connection.execute(insert(tables.round_samples).values(row))


def _put(connection: Connection, fault: Fault, round_id: str, now_unix_s: int) -> None:
    samples, table = tables.samples, tables.quarantine
    found = connection.execute(
        select(samples.c.line, samples.c.device_id, samples.c.state).where(
            samples.c.id == fault.sample_id
        )
    ).one_or_none()
    if found is None or found.state == QUARANTINED:
        return
    counts.move(connection, samples.c.id == fault.sample_id, QUARANTINED)
    connection.execute(
        insert(table).values(
            sample_id=fault.sample_id,
            line=found.line,
            device_id=found.device_id,
            round_id=round_id,
            reason=fault.reason,
            detail=fault.detail,
            quarantined_unix_s=now_unix_s,
        )
    )
    of_round = tables.round_samples
    connection.execute(
        delete(of_round).where(
            of_round.c.round_id == round_id, of_round.c.sample_id == fault.sample_id
        )
    )
