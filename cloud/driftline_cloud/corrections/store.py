"""Who waits for the teacher's answer, as rows of the database: whoever serves and whoever answers
meet here.

    (asked) -> waiting -> answered -> (gone: the device has seen it, or it was kept long enough)

A row is there before its sample is acknowledged, so what was promised survives a kill. The text of
an answer lies in the row, too: a device may come for it long after its label's sample was dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from driftline_cloud.corrections.settings import EscalationSettings
from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.jobs import Label
from driftline_shared.bounds import MAX_CORRECTIONS
from driftline_shared.errors import Reason
from driftline_shared.status import Correction

WAITING, ANSWERED = "waiting", "answered"

_rows = tables.corrections


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrectionCounts:
    """Of one moment: samples that wait for an answer, answers that wait for their devices."""

    num_waiting: int
    num_answered: int


class CorrectionStore:
    """The samples of one cloud that want the teacher's answer; for any thread and process."""

    def __init__(self, database: Database, settings: EscalationSettings) -> None:
        self._database = database
        self._settings = settings

    def ask(
        self, device_id: str, ids: Sequence[bytes], *, now_unix_s: int
    ) -> dict[bytes, Reason | None]:
        """Note that `device_id` wants answers to its samples `ids`: None where one will follow, or
        why not. Asking again changes nothing; nobody gets the answer to another's sample.
        """
        settings = self._settings
        if settings.max_waiting == 0:
            return dict.fromkeys(ids, Reason.ANSWERS_OFF)
        found: dict[bytes, Reason | None] = {}
        with self._database.write() as connection:
            own = _own(connection, device_id, ids)
            known = set(
                connection.execute(select(_rows.c.sample_id).where(_rows.c.sample_id.in_(ids)))
                .scalars()
                .all()
            )
            num = _num_waiting(connection)
            num_of_device = _num_waiting(connection, device_id)
            num_kept = int(
                connection.scalar(
                    select(func.count()).select_from(_rows).where(_rows.c.device_id == device_id)
                )
                or 0
            )
            for one in ids:
                if one in known or one in found:
                    found.setdefault(one, None)
                elif one not in own:
                    found[one] = Reason.ANSWER_FAILED
                elif (
                    num >= settings.max_waiting
                    or num_of_device >= settings.max_waiting_per_device
                    or num_kept >= MAX_CORRECTIONS
                ):
                    found[one] = Reason.ANSWERS_FULL
                else:
                    connection.execute(
                        insert(_rows).values(
                            sample_id=one,
                            device_id=device_id,
                            state=WAITING,
                            asked_unix_s=now_unix_s,
                            changed_unix_s=now_unix_s,
                            answer="",
                            confidence=0.0,
                            teacher="",
                            reason="",
                        )
                    )
                    num, num_of_device, num_kept = num + 1, num_of_device + 1, num_kept + 1
                    found[one] = None
        return found

    def waiting(self, line: str, most: int) -> list[bytes]:
        """The ids of the samples of `line` that wait for an answer, the oldest first, at most
        `most`: each line has a teacher of its own.
        """
        samples = tables.samples
        query = (
            select(_rows.c.sample_id)
            .join(samples, samples.c.id == _rows.c.sample_id)
            .where(_rows.c.state == WAITING, samples.c.line == line)
            .order_by(_rows.c.asked_unix_s, _rows.c.sample_id)
            .limit(most)
        )
        with self._database.read() as connection:
            return [bytes(one) for one in connection.execute(query).scalars()]

    def answer(self, labels: Sequence[Label], *, teacher: str, now_unix_s: int) -> None:
        """Keep the teacher's answers for their devices; those given up meanwhile stay so."""
        with self._database.write() as connection:
            for label in labels:
                connection.execute(
                    update(_rows)
                    .where(_rows.c.sample_id == label.sample_id, _rows.c.state == WAITING)
                    .values(
                        state=ANSWERED,
                        answer=label.text,
                        confidence=min(max(label.confidence, 0.0), 1.0),
                        teacher=teacher,
                        changed_unix_s=now_unix_s,
                    )
                )

    def give_up(self, ids: Collection[bytes], reason: Reason, *, now_unix_s: int) -> None:
        """There will be no answer to `ids`; their devices are told why."""
        with self._database.write() as connection:
            connection.execute(
                update(_rows)
                .where(_rows.c.sample_id.in_(list(ids)), _rows.c.state == WAITING)
                .values(state=ANSWERED, reason=str(reason), changed_unix_s=now_unix_s)
            )

    def tidy(self, *, now_unix_s: float) -> None:
        """Give up what waited too long for its answer; forget answers that nobody came for."""
        too_late = int(now_unix_s - self._settings.max_age_s)
        too_old = int(now_unix_s - self._settings.keep_s)
        with self._database.read() as connection:
            late = (_rows.c.state == WAITING) & (_rows.c.asked_unix_s < too_late)
            old = (_rows.c.state == ANSWERED) & (_rows.c.changed_unix_s < too_old)
            if not connection.scalar(select(func.count()).select_from(_rows).where(late | old)):
                return
        with self._database.write() as connection:
            connection.execute(
                update(_rows)
                .where(late)
                .values(
                    state=ANSWERED,
                    reason=str(Reason.ANSWER_LATE),
                    changed_unix_s=int(now_unix_s),
                )
            )
            connection.execute(delete(_rows).where(old))

    def due(self, device_id: str, *, but: Collection[bytes] = ()) -> tuple[list[Correction], bool]:
        """The answers for `device_id` that are there, without those of `but`; and whether more is
        owed to it.
        """
        query = (
            select(_rows)
            .where(_rows.c.device_id == device_id)
            .order_by(_rows.c.changed_unix_s, _rows.c.sample_id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        left = [row for row in rows if bytes(row.sample_id) not in but]
        there = [row for row in left if row.state == ANSWERED][:MAX_CORRECTIONS]
        found = [
            Correction(
                id=bytes(row.sample_id),
                answer=row.answer,
                confidence=row.confidence,
                teacher=row.teacher,
                answered_unix_s=row.changed_unix_s,
                no_answer=row.reason,
            )
            for row in there
        ]
        return found, len(left) > len(there)

    def seen(self, device_id: str, ids: Sequence[bytes]) -> None:
        """`device_id` has acted upon these: they need not be sent again."""
        with self._database.write() as connection:
            connection.execute(
                delete(_rows).where(
                    _rows.c.device_id == device_id,
                    _rows.c.sample_id.in_(ids),
                    _rows.c.state == ANSWERED,
                )
            )

    def counts(self) -> CorrectionCounts:
        """How many wait for what."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(_rows.c.state, func.count()).group_by(_rows.c.state)
            ).all()
        by_state = {str(state): int(num) for state, num in rows}
        return CorrectionCounts(
            num_waiting=by_state.get(WAITING, 0), num_answered=by_state.get(ANSWERED, 0)
        )


def _own(connection: Connection, device_id: str, ids: Sequence[bytes]) -> set[bytes]:
    """Those of `ids` that are samples of `device_id`."""
    query = select(tables.samples.c.id).where(
        tables.samples.c.id.in_(ids), tables.samples.c.device_id == device_id
    )
    return {bytes(one) for one in connection.execute(query).scalars()}


def _num_waiting(connection: Connection, device_id: str | None = None) -> int:
    query = select(func.count()).select_from(_rows).where(_rows.c.state == WAITING)
    if device_id is not None:
        query = query.where(_rows.c.device_id == device_id)
    return int(connection.scalar(query) or 0)
