"""What sampling made of one answer, for whoever records it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from driftline_device.sampling.gate import Uncertainty


class Outcome(StrEnum):
    """What became of an answer; the first six are `SamplerCounts`' own.

    `not_kept`: the spool did not take the sample. `paused`: an operator wants no samples.
    `error`: sampling raised.
    """

    CONFIDENT = "confident"
    HELD_BACK = "held_back"
    REPEAT = "repeat"
    OVER_BUDGET = "over_budget"
    INVALID = "invalid"
    SENT = "sent"
    NOT_KEPT = "not_kept"
    PAUSED = "paused"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """`uncertainty`: None where the gate was not asked."""

    outcome: Outcome
    uncertainty: Uncertainty | None = None
    audit: bool = False
