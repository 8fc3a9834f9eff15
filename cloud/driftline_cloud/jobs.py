"""The records of work: what a round asks of its workers and what they give back; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """What the teacher says to one sample.

    `tokens`: generated token ids, end of text included. `confidence`: geometric mean of the
    probabilities of `tokens`, 0..1. Teacher logits are not kept: distillation recomputes them from
    the same bytes, which costs less than storing (steps x vocabulary) floats per sample.
    """

    sample_id: bytes
    text: str
    tokens: tuple[int, ...]
    confidence: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillJob:
    """Everything one distillation depends on: same job, same adapter, on any workers.

    `samples` with `labels` (same order) are trained on; `rehearsal` are older samples with their
    labels; the source calibration set comes from the pair. `start`: the canonical adapter C_v.
    """

    pair_dir: Path
    seed: int
    start: Adapter
    samples: Sequence[Sample]
    labels: Sequence[Label]
    rehearsal: Sequence[Sample] = ()
    rehearsal_labels: Sequence[Label] = ()
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Distilled:
    """A candidate. `importance`: per weight, sqrt of Adam's second moment (Fisher diagonal
    estimate).
    """

    adapter: Adapter
    importance: Adapter
    numbers: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreJob:
    """What an adapter is judged on: held-out samples and rehearsal, with the teacher's labels.

    `holdout`: no training has seen them. `rehearsal`: of earlier domains. The held-out part of
    the source calibration set comes from the pair. `settings`: as in `DistillJob`.
    """

    pair_dir: Path
    holdout: Sequence[Sample]
    labels: Sequence[Label]
    rehearsal: Sequence[Sample] = ()
    rehearsal_labels: Sequence[Label] = ()
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class GateScores:
    """What one adapter does on the gate's three sets; shares and probabilities in 0..1.

    `agreement`: share of held-out samples answered exactly as the teacher did. `probability`:
    mean over the same samples of the geometric mean probability of the teacher's answer; it moves
    before `agreement` does. `source_accuracy`, `source_probability`: the same on held-out source
    rows, all tokens, against true answers. `rehearsal_agreement`: as `agreement`, on older
    samples; 1 when there are none. `num_steps`: mean generated tokens of an answer to a source
    row. `finite`: no NaN or infinity anywhere.
    """

    agreement: float
    probability: float
    source_accuracy: float
    source_probability: float
    rehearsal_agreement: float = 1.0
    num_steps: float
    finite: bool = True
    num_holdout: int
    num_source: int
    num_rehearsal: int = 0
