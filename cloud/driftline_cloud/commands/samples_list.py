"""Stored samples as an operator sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select

from driftline_cloud.intake import tables
from driftline_cloud.intake.counts import QUARANTINED
from driftline_cloud.intake.database import Database
from driftline_shared.errors import DriftlineError
from driftline_shared.wire import load_sample


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedSample:
    """One stored sample. `reason`, `detail`: why it is in quarantine; empty: it is not."""

    id: bytes
    line: str
    device_id: str
    state: str
    round_id: str
    received_unix_s: int
    num_bytes: int
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownSample(ListedSample):
    """A listed sample with what its bytes hold; empty or 0 where they are gone or unreadable."""

    question: str = ""
    answer: str = ""
    owner_answer: str = ""
    codec: str = ""
    num_tokens: int = 0
    frames: int = 0
    rows: int = 0
    cols: int = 0
    adapter_version: int = 0
    created_unix_s: int = 0


class SampleListing:
    """Reads samples for people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(
        self, *, quarantined: bool = False, limit: int = 100, offset: int = 0
    ) -> list[ListedSample]:
        """At most `limit` samples, newest first; `quarantined`: only those that are set apart."""
        samples = tables.samples
        query = _listed().order_by(samples.c.sequence.desc()).limit(limit).offset(offset)
        if quarantined:
            query = query.where(samples.c.state == QUARANTINED)
        with self._database.read() as connection:
            return [ListedSample(**row) for row in connection.execute(query).mappings()]

    def show(self, sample_id: bytes) -> ShownSample | None:
        """One sample, if it is stored."""
        samples = tables.samples
        with self._database.read() as connection:
            row = (
                connection.execute(_listed().where(samples.c.id == sample_id))
                .mappings()
                .one_or_none()
            )
            body = connection.scalar(select(samples.c.body).where(samples.c.id == sample_id))
        if row is None:
            return None
        listed = dict(row)
        try:
            sample = load_sample(bytes(body or b""))
        except DriftlineError:
            return ShownSample(**listed)
        grid = sample.tokens.grid
        return ShownSample(
            **listed,
            question=sample.question,
            answer=sample.answer,
            owner_answer=sample.owner_answer,
            codec=sample.tokens.codec,
            num_tokens=sample.tokens.num_tokens,
            frames=grid.frames,
            rows=grid.rows,
            cols=grid.cols,
            adapter_version=sample.adapter_version,
            created_unix_s=sample.created_unix_s,
        )


def _listed() -> Select[Any]:
    samples, apart = tables.samples, tables.quarantine
    return select(
        samples.c.id,
        samples.c.line,
        samples.c.device_id,
        samples.c.state,
        func.coalesce(samples.c.round_id, "").label("round_id"),
        samples.c.received_unix_s,
        samples.c.num_bytes,
        func.coalesce(apart.c.reason, "").label("reason"),
        func.coalesce(apart.c.detail, "").label("detail"),
    ).select_from(samples.outerjoin(apart, apart.c.sample_id == samples.c.id))
