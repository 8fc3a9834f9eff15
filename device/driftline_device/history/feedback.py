"""An owner's word on an answer as programs send it, over HTTP or MQTT.

    {"id": ..., "right": true}     {"id": ..., "wrong": true, "answer": "two"}

`{"right": false}` says the same as `{"wrong": true}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, model_validator

from driftline_device.history.history import History
from driftline_device.history.marks import MOST_ANSWER_CHARS
from driftline_shared.host.clock import Clock

MOST_FEEDBACK_BYTES = 16 << 10
"""Of one word, as JSON."""

FORM = (
    'feedback is {"id": an answer\'s id, "right": true or false, "answer": what would be right, '
    'where that is known}; "wrong": true is the same as "right": false'
)


class Feedback(BaseModel):
    """A program's word on an answer."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(max_length=64)
    right: StrictBool | None = None
    wrong: StrictBool | None = None
    answer: str | None = Field(None, max_length=MOST_ANSWER_CHARS)

    @model_validator(mode="after")
    def _one_word(self) -> Self:
        if (self.right is None) == (self.wrong is None):
            raise ValueError("right or wrong, and not both")
        return self

    @property
    def is_right(self) -> bool:
        """Whether the answer was right."""
        return self.right if self.right is not None else not self.wrong


def take_feedback(
    history: History, answer_id: str, *, right: bool, answer: str | None, now_s: float
) -> dict[str, Any]:
    """Note it; what is noted now, in JSON's terms. Raises as `History.mark` does."""
    done = history.mark(answer_id, right=right, answer=answer, now_s=now_s)
    return {
        "id": done.id,
        "said": done.said,
        "right": done.right,
        "answer": done.answer,
        "picture": history.find(done.id).has_picture,
    }


def read_feedback(data: bytes) -> Feedback:
    """`data` as a word on an answer; ValueError says what is right."""
    if len(data) > MOST_FEEDBACK_BYTES:
        raise ValueError(f"more than {MOST_FEEDBACK_BYTES:,} bytes")
    try:
        return Feedback.model_validate_json(data)
    except ValidationError:
        raise ValueError(FORM) from None


def taker(history: History, clock: Clock) -> Callable[[bytes], dict[str, Any]]:
    """Notes in `history` what comes as JSON."""

    def take(data: bytes) -> dict[str, Any]:
        given = read_feedback(data)
        return take_feedback(
            history, given.id, right=given.is_right, answer=given.answer, now_s=clock.now_s()
        )

    return take
