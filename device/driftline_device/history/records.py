"""The values of the history: a past answer, an update's card."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline_device.history.marks import MarksVerdict
from driftline_device.sinks.event import AnswerRecord
from driftline_shared.errors import DataError


class UnknownAnswerError(DataError):
    """No answer that is kept has that id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PastAnswer:
    """One answer as it was given, and the owner's word on it, if any.

    `uncertainty`: entropy, None where there is none. `sample`: hex id of what was sent of it, None
    where nothing was; `num_bytes` of that. `right`: None until the owner marks it; `right_answer`:
    what the owner said instead. `teacher_answer`: what the cloud's teacher answered, where it was
    asked; it is no word of the owner's.
    """

    id: str
    unix_s: float
    feed: str
    source: str
    place: str
    question: str
    answer: str
    uncertainty: float | None
    version: int
    sample: str | None = None
    num_bytes: int = 0
    right: bool | None = None
    right_answer: str | None = None
    has_picture: bool = False
    teacher_answer: str | None = None
    teacher_confidence: float | None = None

    @staticmethod
    def of(record: AnswerRecord) -> PastAnswer:
        """An answer as it was published."""
        return PastAnswer(
            id=record.id,
            unix_s=record.unix_s,
            feed=record.feed,
            source=record.source,
            place=record.place,
            question=record.question,
            answer=record.answer,
            uncertainty=record.uncertainty,
            version=record.version,
            sample=record.sample,
            num_bytes=record.num_bytes,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateCard:
    """Why an update was taken or not: `outcome` applied, failed or rolled_back; `reason`, a code,
    and `detail` in words; `marks`: what it made of the answers that the owner marked.
    """

    unix_s: float
    version: int
    outcome: str
    reason: str
    detail: str = ""
    num_bytes: int = 0
    marks: MarksVerdict = field(default_factory=MarksVerdict)
    numbers: dict[str, float] = field(default_factory=dict)
