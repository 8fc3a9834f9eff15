"""One recorded event, and the kinds there are. Needs no pyarrow."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class EventKind(StrEnum):
    """What an event tells. `answer`, `update`: of a device; `sample`, `round`: of a cloud."""

    ANSWER = "answer"
    SAMPLE = "sample"
    UPDATE = "update"
    ROUND = "round"


@dataclass(frozen=True, kw_only=True, slots=True)
class TraceEvent:
    """One row of a trace; what is not known, or not of this kind, is None.

    `columns.COLUMNS` gives the meaning of each field. `sequence` is given by the writer.
    """

    sequence: int = 0
    kind: EventKind
    wall_unix_s: float
    monotonic_s: float
    device: str | None = None
    segment: str | None = None
    domain: str | None = None
    sample_id: str | None = None
    trace_id: str | None = None
    question: str | None = None
    answer: str | None = None
    reference: str | None = None
    correct: bool | None = None
    scores: dict[str, float] = field(default_factory=dict)
    gate_kind: str | None = None
    uncertainty: float | None = None
    p_value: float | None = None
    uncertain: bool | None = None
    audit: bool | None = None
    sent: bool | None = None
    outcome: str | None = None
    model_s: float | None = None
    adapter_version: int | None = None
    policy_revision: int | None = None
    policy_digest: str | None = None
    grid: tuple[int, ...] | None = None
    kept: tuple[int, ...] | None = None
    token_codec: str | None = None
    coded: bytes | None = field(default=None, repr=False)
    sample_bytes: int | None = None
    all_codec: str | None = None
    all_kept: tuple[int, ...] | None = None
    all_tokens: bytes | None = field(default=None, repr=False)
    verdict: str | None = None
    reason: str | None = None
    detail: str | None = None
    from_version: int | None = None
    target_digest: str | None = None
    update_bytes: int | None = None
    round_id: str | None = None
    num_samples: int | None = None
    picture: bytes | None = field(default=None, repr=False)
