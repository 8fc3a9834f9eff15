"""The ledger of rounds: every state of every round, durable before the work of that state begins.

A line has at most one open round: `rounds.open_line` is unique and holds the line only while the
round is open. Samples change hands in the same transaction as the round that takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.counts import USED, WAITING
from driftline_cloud.intake.database import Database
from driftline_cloud.rounds.claims import claim_of, claimed_sequences
from driftline_cloud.rounds.round import Round, RoundState
from driftline_cloud.rounds.shares import Claim, Shares
from driftline_shared.callbacks import ignore
from driftline_shared.errors import DriftlineError

TRAIN, HOLDOUT, REHEARSAL, RECALL = "train", "holdout", "rehearsal", "recall"
TRAIN_AGAIN, HOLDOUT_AGAIN = "train_again", "holdout_again"
PARTS = (TRAIN, HOLDOUT, TRAIN_AGAIN, HOLDOUT_AGAIN, REHEARSAL, RECALL)
"""Parts of a round. `train` and `holdout` split its own samples; the same again are those of rounds
that were rejected since the last release: no version has learnt them yet. `rehearsal` are older
training samples, `recall` older held-out ones, which only the gate sees."""

_ROWS_PER_QUERY = 500
"""SQLite bounds the number of variables of one statement."""

Parts = Mapping[str, Sequence[bytes]]

Make = Callable[[int, int], Round]

Fence = Callable[[Connection], None]
"""Called first in every transaction that changes a round; raises if this one may not (`Lease`)."""


class RoundLedger:
    """Rounds and which samples belong to them."""

    def __init__(self, database: Database, *, fence: Fence = ignore) -> None:
        self._database = database
        self._fence = fence

    def guard(self) -> None:
        """Raise what the fence raises: before a file is written that others read."""
        with self._database.write() as connection:
            self._fence(connection)

    def open(
        self, line: str, shares: Shares, *, make: Make, least_samples: int = 1
    ) -> Round | None:
        """Open a round and claim what waits; None if a round is open already, or it would take
        fewer than `least_samples`.

        `make(number, num_samples)` gives the round. It takes as many of each device as of any
        other, within a device's share, the oldest first.
        """
        try:
            with self._database.write() as connection:
                return open_round(connection, line, shares, make=make, least_samples=least_samples)
        except IntegrityError:
            return None  # another coordinator was first

    def save(self, round_: Round, also: Callable[[Connection], object] = ignore) -> None:
        """Keep the new state of a round; a failed one gives its samples back in the same step.
        `also`: changes more in this very step, before.
        """
        table = tables.rounds
        row = _row(round_)
        with self._database.write() as connection:
            self._fence(connection)
            also(connection)
            connection.execute(update(table).where(table.c.id == round_.id).values(**row))
            if round_.state is RoundState.FAILED:
                own = (tables.samples.c.round_id == round_.id) & (tables.samples.c.state == USED)
                counts.move(connection, own, WAITING, {"round_id": None})
                connection.execute(
                    delete(tables.round_samples).where(tables.round_samples.c.round_id == round_.id)
                )

    def save_parts(self, round_id: str, parts: Parts) -> None:
        """Keep the split of a round; a split that was kept before is replaced."""
        table = tables.round_samples
        rows = [
            {"round_id": round_id, "sample_id": one, "part": part, "place": place}
            for part, ids in parts.items()
            for place, one in enumerate(ids)
        ]
        with self._database.write() as connection:
            self._fence(connection)
            connection.execute(delete(table).where(table.c.round_id == round_id))
            if rows:
                connection.execute(insert(table), rows)

    def add_version(
        self, line: str, version: int, *, round_id: str, digest: str, now_unix_s: int
    ) -> None:
        """Keep that `round_id` released `version`, whose adapter has `digest`; again: nothing.

        DriftlineError if another round released it, or it had another digest.
        """
        table = tables.versions
        known = self.versions(line).get(version)
        if known is None:
            with self._database.write() as connection:
                self._fence(connection)
                connection.execute(
                    insert(table).values(
                        line=line,
                        version=version,
                        round_id=round_id,
                        digest=digest,
                        released_unix_s=now_unix_s,
                    )
                )
        elif known != (round_id, digest):
            raise DriftlineError(f"version {version} of line {line} is of round {known[0]}")

    def versions(self, line: str) -> dict[int, tuple[str, str]]:
        """(round, digest of the adapter) by version, in turn."""
        table = tables.versions
        query = select(table.c.version, table.c.round_id, table.c.digest).where(
            table.c.line == line
        )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.version))
            return {int(version): (round_id, digest) for version, round_id, digest in rows}

    def newest_done(self, line: str) -> int:
        """The highest version that a round of the line ended with; 0: none did."""
        table = tables.rounds
        query = select(func.max(table.c.target_version)).where(
            table.c.line == line, table.c.state == RoundState.DONE
        )
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)

    def claimable(self, line: str, shares: Shares) -> Claim:
        """What a round would take of what waits now."""
        with self._database.read() as connection:
            return claim_of(connection, line, shares)

    def parts(self, round_id: str) -> dict[str, list[bytes]]:
        """Sample ids by part, in the order in which they were saved."""
        table = tables.round_samples
        query = (
            select(table.c.part, table.c.sample_id)
            .where(table.c.round_id == round_id, table.c.part.in_(PARTS))
            .order_by(table.c.part, table.c.place)
        )
        found: dict[str, list[bytes]] = {part: [] for part in PARTS}
        with self._database.read() as connection:
            for part, one in connection.execute(query):
                found[part].append(bytes(one))
        return found

    def devices(self, ids: Sequence[bytes]) -> dict[bytes, str]:
        """The device that sent each sample."""
        table = tables.samples
        found: dict[bytes, str] = {}
        with self._database.read() as connection:
            for start in range(0, len(ids), _ROWS_PER_QUERY):
                some = table.c.id.in_(ids[start : start + _ROWS_PER_QUERY])
                for one, device_id in connection.execute(
                    select(table.c.id, table.c.device_id).where(some)
                ):
                    found[bytes(one)] = str(device_id)
        return found

    def claimed(self, round_id: str) -> list[bytes]:
        """Ids of the samples the round took, in order of arrival."""
        query = (
            select(tables.samples.c.id)
            .where(tables.samples.c.round_id == round_id)
            .order_by(tables.samples.c.sequence)
        )
        with self._database.read() as connection:
            return [bytes(one) for one in connection.execute(query).scalars()]

    def older(self, line: str, *, before: int, part: str) -> dict[str, list[bytes]]:
        """Ids of samples of the line that earlier rounds held in `part` and whose bytes are still
        here, by round, in order of arrival.
        """
        own, samples, rounds = tables.round_samples, tables.samples, tables.rounds
        query = (
            select(own.c.round_id, own.c.sample_id)
            .join(rounds, rounds.c.id == own.c.round_id)
            .join(samples, samples.c.id == own.c.sample_id)
            .where(
                # Those of a group may come from rounds of the line that it left.
                samples.c.line == line,
                samples.c.state == USED,
                (rounds.c.line != line) | (rounds.c.number < before),
                own.c.part == part,
            )
            .order_by(own.c.round_id, samples.c.sequence)
        )
        found: dict[str, list[bytes]] = {}
        with self._database.read() as connection:
            for round_id, one in connection.execute(query):
                found.setdefault(round_id, []).append(bytes(one))
        return found

    def rejected_since_release(self, line: str, *, before: int) -> list[str]:
        """Ids of the rounds that were rejected after the last one that released, newest first."""
        table = tables.rounds
        released = (
            select(func.coalesce(func.max(table.c.number), 0))
            .where(table.c.line == line, table.c.state == RoundState.DONE, table.c.number < before)
            .scalar_subquery()
        )
        query = (
            select(table.c.id)
            .where(
                table.c.line == line,
                table.c.state == RoundState.REJECTED,
                table.c.number > released,
                table.c.number < before,
            )
            .order_by(table.c.number.desc())
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def get(self, round_id: str) -> Round:
        """The round of that id; KeyError if there is none."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(tables.rounds).where(tables.rounds.c.id == round_id))
                .mappings()
                .one_or_none()
            )
        if row is None:
            raise KeyError(round_id)
        return _round(row)

    def newest(self, line: str, *, limit: int = 1, offset: int = 0) -> list[Round]:
        """The last rounds of a line, newest first, without the first `offset`."""
        query = (
            select(tables.rounds)
            .where(tables.rounds.c.line == line)
            .order_by(tables.rounds.c.number.desc())
            .limit(limit)
            .offset(offset)
        )
        with self._database.read() as connection:
            return [_round(row) for row in connection.execute(query).mappings()]

    def open_round(self, line: str) -> Round | None:
        """The round of a line that is not over, if any."""
        query = select(tables.rounds).where(tables.rounds.c.open_line == line)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _round(row)

    def count(self, line: str) -> int:
        """How many rounds a line has had, the open one included."""
        query = select(func.count()).select_from(tables.rounds).where(tables.rounds.c.line == line)
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)


def open_round(
    connection: Connection, line: str, shares: Shares, *, make: Make, least_samples: int = 1
) -> Round | None:
    """See `RoundLedger.open`, within somebody's transaction. IntegrityError where one is open."""
    samples = tables.samples
    taken = claim_of(connection, line, shares)
    if taken.num_taken < max(1, least_samples):
        return None
    claimed = claimed_sequences(connection, line, taken)
    last = connection.scalar(
        select(func.max(tables.rounds.c.number)).where(tables.rounds.c.line == line)
    )
    round_ = make(int(last or 0) + 1, len(claimed))
    told = {"devices": taken.num_devices, "most": taken.share, "left_waiting": taken.num_left}
    numbers = {f"shares.{name}": float(value) for name, value in told.items()}
    round_ = replace(round_, numbers={**round_.numbers, **numbers})
    connection.execute(insert(tables.rounds).values(**_row(round_)))
    for start in range(0, len(claimed), _ROWS_PER_QUERY):
        some = samples.c.sequence.in_(claimed[start : start + _ROWS_PER_QUERY])
        counts.move(connection, some, USED, {"round_id": round_.id})
    return round_


def _row(round_: Round) -> dict[str, Any]:
    return {
        **asdict(round_),
        "state": str(round_.state),
        "numbers": dict(round_.numbers),
        "open_line": round_.line if round_.is_open else None,
    }


def _round(row: Mapping[Any, Any]) -> Round:
    values = {key: value for key, value in row.items() if key != "open_line"}
    return Round(**{**values, "state": RoundState(values["state"])})
