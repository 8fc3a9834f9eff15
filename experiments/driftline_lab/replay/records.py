"""One recorded interaction, as a replay needs it. Needs no Parquet."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftline_shared.tokens import VisualTokens
from driftline_shared.wire import EncodedSample


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """An answer of a device. `at_s`: seconds since the first one of the trace, rising.

    `sample`: what the device sent of it, as it was sent; None if it sent nothing. `tokens`: all
    tokens of the tower, where the trace holds them. `reference`: the true answer, where known.
    `uncertainty`: the score that the device's gate looked at.
    """

    at_s: float
    device: str
    question: str
    answer: str
    scores: dict[str, float] = field(default_factory=dict)
    version: int = 0
    segment: str = ""
    domain: str = ""
    reference: str | None = None
    uncertainty: float | None = None
    sample: EncodedSample | None = None
    tokens: VisualTokens | None = None
