"""An answer as one client gets it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from driftline_device.runtime.likely import LikelyStep
from driftline_device.runtime.runtime import Answer

Finish = Literal["stop", "length"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spoken:
    """An answer as the client gets it: `text` may be cut to what the client allowed, or dressed;
    `notes`: how, see `Dressed`; `steps`: the tokens of that text with their probabilities, where
    they were asked for.
    """

    text: str
    finish: Finish
    num_tokens: int
    answer: Answer
    notes: dict[str, Any] = field(default_factory=dict)
    steps: tuple[LikelyStep, ...] = ()

    def usage(self) -> dict[str, int]:
        """Tokens read (visual ones included) and written."""
        read = self.answer.num_prompt_tokens
        return {
            "prompt_tokens": read,
            "completion_tokens": self.num_tokens,
            "total_tokens": read + self.num_tokens,
        }

    def provenance(self) -> dict[str, Any]:
        """The answer's id, the adapter version, the scores, and how the answer was dressed."""
        scores = {kind: each for kind, each in self.answer.scores.items() if math.isfinite(each)}
        return {
            "answer_id": self.answer.id,
            "adapter_version": self.answer.version,
            "uncertainty": scores,
            **self.notes,
        }
