"""The sample store: every sample once, in one of the states waiting, used or dropped.

    waiting -> used         a round claimed it (and back to waiting if that round failed)
    used    -> dropped      past the retention limit: the bytes go, the id stays for dedupe

A sample is durable before it is acknowledged. Ids are unique by the database's own constraint, so
that two streams of one device cannot double a sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import DatabaseError, IntegrityError

from driftline_cloud.intake import admission, counts, tables
from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.counts import DROPPED, USED, WAITING
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import say, writing
from driftline_cloud.intake.standing import Standing
from driftline_cloud.intake.writing.bulk import insert_rows, select_rows
from driftline_cloud.intake.writing.turns import SharedTurns
from driftline_cloud.jobs import Label
from driftline_shared.errors import Reason, SampleError
from driftline_shared.tokens import Sample
from driftline_shared.wire import EncodedSample, load_sample

_MOST_TOGETHER = 32
"""Batches in one transaction."""

_SECONDS_A_DAY = 86_400
_IDS_PER_QUERY = 500
"""SQLite bounds the number of variables of one statement."""

_COLUMNS = (
    "id",
    "device_id",
    "line",
    "token_space",
    "state",
    "score",
    "received_unix_s",
    "num_bytes",
    "body",
)
"""That a new sample has values of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleCounts:
    """What a line holds. `num_drifted`: waiting samples whose gate score is above the threshold."""

    num_samples: int
    num_waiting: int
    num_drifted: int
    oldest_waiting_unix_s: int | None
    num_quarantined: int = 0


class SampleStore:
    """Samples and the teacher's labels for them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing = writing("samples")
        self._turns: SharedTurns[_Batch, dict[bytes, SampleError | bool]] = SharedTurns(
            self._add_all, most=_MOST_TOGETHER
        )

    @property
    def place(self) -> str:
        """Where its database is, for people."""
        return self._database.place

    def add(
        self,
        samples: Sequence[EncodedSample],
        *,
        device_id: str,
        line: str,
        token_space: str,
        gate_score: str,
        quota: Quota,
        now_unix_s: int,
    ) -> dict[bytes, SampleError | bool]:
        """Store checked samples, as they came, in one transaction.

        By id: True stored, False known, or why not.

        `gate_score`: the kind whose value is kept beside the sample, for the drift score.
        """
        job = _Batch(
            samples=samples,
            device_id=device_id,
            line=line,
            token_space=token_space,
            gate_score=gate_score,
            quota=quota,
            now_unix_s=now_unix_s,
        )
        try:
            return self._turns.do(job)
        except (DatabaseError, IntegrityError) as error:
            # Nothing was stored: the transaction is gone. An id that another stream stored at this
            # very moment (IntegrityError) is recognised when the device sends again.
            if not isinstance(error, IntegrityError):
                say(self._writing, error, self.place)
            raise SampleError("the store could not be written", reason=Reason.STORE_BUSY) from error

    def _add_all(self, jobs: Sequence[_Batch]) -> list[dict[bytes, SampleError | bool]]:
        """Several devices' batches in one transaction."""
        with self._database.write() as connection:
            found = _add(connection, jobs)
        self._writing.is_over()
        return found

    def counts(self, line: str, *, drift_threshold: float = float("inf")) -> SampleCounts:
        """How many samples a line holds and how many wait.

        What is above a finite `drift_threshold` is counted anew: ask only where few wait.
        """
        table = tables.samples
        waiting = (table.c.line == line) & (table.c.state == WAITING)
        with self._database.read() as connection:
            found = counts.of_line(connection, line)
            oldest = connection.scalar(
                select(table.c.received_unix_s).where(waiting).order_by(table.c.sequence).limit(1)
            )
            num_drifted: int | None = 0
            if found.num_waiting and drift_threshold < float("inf"):
                num_drifted = connection.scalar(
                    select(func.count())
                    .select_from(table)
                    .where(waiting & (table.c.score > drift_threshold))
                )
        return SampleCounts(
            num_samples=found.num_samples,
            num_waiting=found.num_waiting,
            num_drifted=int(num_drifted or 0),
            oldest_waiting_unix_s=oldest,
            num_quarantined=found.num_quarantined,
        )

    def load(self, ids: Sequence[bytes]) -> list[Sample]:
        """The samples of `ids` in that order; `SampleError` if one is not there any more."""
        bodies: dict[bytes, bytes] = {}
        with self._database.read() as connection:
            for some in _slices(ids):
                query = select(tables.samples.c.id, tables.samples.c.body).where(
                    tables.samples.c.id.in_(some), tables.samples.c.state != DROPPED
                )
                bodies.update((bytes(key), bytes(body)) for key, body in connection.execute(query))
        missing = [one for one in ids if one not in bodies]
        if missing:
            raise SampleError(f"{len(missing)} samples are gone, the first is {missing[0].hex()}")
        return [load_sample(bodies[one]) for one in ids]

    def states(self, ids: Sequence[bytes]) -> dict[bytes, str]:
        """The state of each known id."""
        found: dict[bytes, str] = {}
        with self._database.read() as connection:
            for some in _slices(ids):
                query = select(tables.samples.c.id, tables.samples.c.state).where(
                    tables.samples.c.id.in_(some)
                )
                found.update((bytes(key), str(state)) for key, state in connection.execute(query))
        return found

    def drop_used(self, line: str, *, keep: int) -> int:
        """Drop the bytes of all but the `keep` newest used samples; how many went."""
        table = tables.samples
        with self._database.write() as connection:
            edge = connection.scalar(
                select(table.c.sequence)
                .where(table.c.line == line, table.c.state == USED)
                .order_by(table.c.sequence.desc())
                .offset(keep)
                .limit(1)
            )
            if edge is None:
                return 0
            old = (table.c.line == line) & (table.c.state == USED) & (table.c.sequence <= edge)
            return counts.move(connection, old, DROPPED, {"body": b"", "num_bytes": 0})

    # -- the teacher's labels: a sample is labelled once per teacher ------------------------------

    def labels(self, ids: Sequence[bytes], *, teacher: str) -> dict[bytes, Label]:
        """The known labels of `ids` by the teacher of that digest."""
        found: dict[bytes, Label] = {}
        table = tables.labels
        with self._database.read() as connection:
            for some in _slices(ids):
                query = select(table.c.sample_id, table.c.label).where(
                    table.c.sample_id.in_(some), table.c.teacher == teacher
                )
                for key, label in connection.execute(query):
                    found[bytes(key)] = _label(bytes(key), label)
        return found

    def labelled(self, ids: Sequence[bytes], *, teacher: str) -> set[bytes]:
        """Those of `ids` that have a label by the teacher of that digest."""
        with self._database.read() as connection:
            return _labelled(connection, ids, teacher)

    def put_labels(self, labels: Sequence[Label], *, teacher: str) -> None:
        """Keep labels, all or none; a label that is there already stays."""
        with self._database.write() as connection:
            known = _labelled(connection, [label.sample_id for label in labels], teacher)
            rows = [
                {
                    "sample_id": label.sample_id,
                    "teacher": teacher,
                    "label": {
                        "text": label.text,
                        "tokens": list(label.tokens),
                        "confidence": label.confidence,
                        "disputed": label.disputed,
                    },
                }
                for label in {label.sample_id: label for label in labels}.values()
                if label.sample_id not in known
            ]
            if rows:
                connection.execute(insert(tables.labels), rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """What `SampleStore.add` was given."""

    samples: Sequence[EncodedSample]
    device_id: str
    line: str
    token_space: str
    gate_score: str
    quota: Quota
    now_unix_s: int

    @property
    def day(self) -> int:
        """Of its quota, since 1970."""
        return self.now_unix_s // _SECONDS_A_DAY


def _add(connection: Connection, jobs: Sequence[_Batch]) -> list[dict[bytes, SampleError | bool]]:
    by_id = [{sample.id: sample for sample in job.samples} for job in jobs]
    ids = [(one,) for one in dict.fromkeys(chain.from_iterable(by_id))]
    found_ids = select_rows(connection, tables.samples, ("id",), ("id",), ids)
    known = {bytes(one) for (one,) in found_ids}
    standing = Standing(connection, {(job.line, job.device_id, job.day) for job in jobs})
    found: list[dict[bytes, SampleError | bool]] = []
    rows: list[tuple[Any, ...]] = []
    for job, samples in zip(jobs, by_id, strict=True):
        verdicts: dict[bytes, SampleError | bool] = dict.fromkeys(samples, False)
        fresh = {one: sample for one, sample in samples.items() if one not in known}
        verdicts.update(_judge(job, fresh, standing))
        taken = [one for one, verdict in verdicts.items() if verdict is True]
        rows.extend(_row(job, one, fresh[one]) for one in taken)
        known.update(taken)
        found.append(verdicts)
    insert_rows(connection, tables.samples, _COLUMNS, rows)
    standing.write()
    return found


def _judge(
    job: _Batch, fresh: Mapping[bytes, EncodedSample], standing: Standing
) -> dict[bytes, SampleError | bool]:
    """Of samples that are not known, in the order they came."""
    if not fresh:
        return {}
    used = standing.usage(job.line, job.device_id, job.day, job.quota)
    sizes = {one: len(sample.body) for one, sample in fresh.items()}
    *others, last = sizes.values()
    verdicts: dict[bytes, SampleError | bool] = dict.fromkeys(fresh, True)
    try:
        # Where there is room for the last one, there is room for all.
        admission.check_quota(used.plus(sum(others), len(others)), last, job.quota)
    except SampleError:
        for one, num_bytes in sizes.items():
            try:
                admission.check_quota(used, num_bytes, job.quota)
                used = used.plus(num_bytes)
            except SampleError as error:
                verdicts[one] = error
    taken = [num_bytes for one, num_bytes in sizes.items() if verdicts[one] is True]
    if taken:
        standing.take(job.line, job.device_id, job.day, taken)
    return verdicts


def _row(job: _Batch, sample_id: bytes, sample: EncodedSample) -> tuple[Any, ...]:
    """The values of `_COLUMNS`."""
    return (
        sample_id,
        job.device_id,
        job.line,
        job.token_space,
        WAITING,
        sample.sample.scores.get(job.gate_score),
        job.now_unix_s,
        len(sample.body),
        sample.body,
    )


def _label(sample_id: bytes, body: Mapping[str, Any]) -> Label:
    return Label(**{**body, "sample_id": sample_id, "tokens": tuple(body["tokens"])})


def _labelled(connection: Connection, ids: Sequence[bytes], teacher: str) -> set[bytes]:
    table, known = tables.labels, set[bytes]()
    for some in _slices(ids):
        query = select(table.c.sample_id).where(
            table.c.sample_id.in_(some), table.c.teacher == teacher
        )
        known.update(bytes(key) for key in connection.execute(query).scalars())
    return known


def _slices(ids: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [ids[i : i + _IDS_PER_QUERY] for i in range(0, len(ids), _IDS_PER_QUERY)]
