"""An answer as one client gets it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from driftline_device.runtime.likely import LikelyStep
from driftline_device.runtime.runtime import Answer
from driftline_shared.status import Correction

Finish = Literal["stop", "length"]

DEVICE, CLOUD = "device", "cloud"
"""Who gave an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """An answer as the client gets it: `text` may be cut to what the client allowed, or dressed;
    `notes`: how, see `Dressed`; `steps`: the tokens of that text with their probabilities, where
    they were asked for; `correction`: the teacher's answer, where it is the one.
    """

    text: str
    finish: Finish
    num_tokens: int
    answer: Answer
    notes: dict[str, Any] = field(default_factory=dict)
    steps: tuple[LikelyStep, ...] = ()
    correction: Correction | None = None

    @property
    def answered_by(self) -> str:
        """`device` or `cloud`."""
        return DEVICE if self.correction is None else CLOUD

    def usage(self) -> dict[str, int]:
        """Tokens read (visual ones included) and written."""
        read = self.answer.num_prompt_tokens
        return {
            "prompt_tokens": read,
            "completion_tokens": self.num_tokens,
            "total_tokens": read + self.num_tokens,
        }

    def _corrected(self) -> dict[str, Any]:
        if self.correction is None:
            return {}
        return {
            "device_answer": self.answer.text,
            "teacher_confidence": round(self.correction.confidence, 6),
        }

    def provenance(self) -> dict[str, Any]:
        """The answer's id, the adapter version, the scores, and how the answer was dressed."""
        scores = {kind: each for kind, each in self.answer.scores.items() if math.isfinite(each)}
        return {
            "answer_id": self.answer.id,
            "adapter_version": self.answer.version,
            "uncertainty": scores,
            "answered_by": self.answered_by,
            **self._corrected(),
            **self.notes,
        }
