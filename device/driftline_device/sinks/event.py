"""What a device tells its owner: one value for each answer, and the form in which it is published.

Truth is in none of them; `correct`, whether it matched, only in the file of events, which stays on
the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

ANSWER, WATCH, CORRECTION = "answer", "watch", "correction"
"""Kinds of events: an answer, a watch that fired, the teacher's answer to an earlier one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRecord:
    """One answer. `id`: 32 hex digits, rising with time. `unix_s`: when it was given.

    `feed`: what an owner calls the stream that it belongs to; `source`: where its pictures come
    from; `place`: the very picture. `uncertainty`: entropy, NaN where there is none. `sample`: hex
    id of what was put into the spool, None where nothing was. `number`, `domain`, `correct` and
    `num_bytes` (of the sample) are for whoever measures a run.
    """

    id: str
    unix_s: float
    feed: str
    source: str
    place: str
    question: str
    answer: str
    uncertainty: float
    version: int
    sample: str | None = None
    number: int = 0
    domain: str = ""
    correct: bool | None = None
    num_bytes: int = 0

    def published(self) -> dict[str, Any]:
        """What is printed and what sinks get, in JSON's terms."""
        known = math.isfinite(self.uncertainty)
        return {
            "kind": ANSWER,
            "id": self.id,
            "time": iso_time(self.unix_s),
            "feed": self.feed,
            "source": self.source,
            "place": self.place,
            "question": self.question,
            "answer": self.answer,
            "uncertainty": round(self.uncertainty, 6) if known else None,
            "version": self.version,
            "sent": self.sample is not None,
            "sample": self.sample,
        }

    def row(self) -> dict[str, Any]:
        """A line of the file of events: the same, and what a run is measured by."""
        return {
            **self.published(),
            "n": self.number,
            "segment": self.source,
            "domain": self.domain,
            "correct": self.correct,
            "bytes": self.num_bytes,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What a sink delivers: `body` is JSON's terms, its `id` the same wherever it is delivered
    twice. `feed` and `question` say to whom it belongs.
    """

    id: str
    kind: str
    feed: str = ""
    question: str = ""
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrectionRecord:
    """What the teacher answered where the device was unsure. `answer_id`: of the device's answer,
    whose feed, source, place, question and version these are; `unix_s`: when the correction came.
    `in_time`: a request to the API got it as its answer.
    """

    answer_id: str
    sample: str
    unix_s: float
    feed: str
    source: str
    place: str
    question: str
    device_answer: str
    answer: str
    confidence: float
    agrees: bool
    in_time: bool
    version: int

    def published(self) -> dict[str, Any]:
        """What is printed, and what sinks and the file of events get, in JSON's terms."""
        said = "agrees" if self.agrees else f"says {self.answer!r} instead of"
        return {
            "kind": CORRECTION,
            "id": f"{self.answer_id}-{CORRECTION}",
            "time": iso_time(self.unix_s),
            "corrects": self.answer_id,
            "feed": self.feed,
            "source": self.source,
            "place": self.place,
            "question": self.question,
            "answer": self.answer,
            "device_answer": self.device_answer,
            "agrees": self.agrees,
            "confidence": round(self.confidence, 6),
            "in_time": self.in_time,
            "version": self.version,
            "sample": self.sample,
            "text": f"{self.place or self.source}  {self.question}  the teacher {said}"
            f" {self.device_answer!r}",
        }

    def row(self) -> dict[str, Any]:
        """A line of the file of events."""
        return self.published()

    def event(self) -> Event:
        """As an event; the same id wherever it is delivered twice."""
        body = self.published()
        return Event(
            id=body["id"], kind=CORRECTION, feed=self.feed, question=self.question, body=body
        )


def answer_event(record: AnswerRecord) -> Event:
    """`record` as an event."""
    return Event(
        id=record.id,
        kind=ANSWER,
        feed=record.feed,
        question=record.question,
        body=record.published(),
    )


def iso_time(unix_s: float) -> str:
    """ISO 8601 in UTC to the millisecond."""
    moment = datetime.fromtimestamp(unix_s, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
