"""What a device tells its owner: one value for each answer, and the form in which it is published.

Truth is in none of them; `correct`, whether it matched, only in the file of events, which stays on
the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

ANSWER, WATCH = "answer", "watch"
"""Kinds of events: an answer, a watch that fired."""


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
