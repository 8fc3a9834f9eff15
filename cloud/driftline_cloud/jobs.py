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
    probabilities of `tokens`, 0..1. `disputed`: where it is what the device's owner says, how sure
    the teacher is of another answer, 0..1; 0 where it is of the same. Teacher logits are not kept:
    distillation recomputes them from the same bytes, which costs less than storing (steps x
    vocabulary) floats per sample.
    """

    sample_id: bytes
    text: str
    tokens: tuple[int, ...]
    confidence: float
    disputed: float = 0.0


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

    `holdout`: no training has seen them. `rehearsal`: of earlier domains. `questions`: how many
    further questions are put to each sample's tokens, drawn by `seed` from those of the others. The
    held-out part of the source calibration set comes from the pair. `settings`: as in `DistillJob`.
    """

    pair_dir: Path
    holdout: Sequence[Sample]
    labels: Sequence[Label]
    rehearsal: Sequence[Sample] = ()
    rehearsal_labels: Sequence[Label] = ()
    questions: int = 0
    seed: int = 0
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """What one adapter does on one set of n samples, sample by sample.

    The samples and their questions are the same for every adapter, so that two adapters are
    compared in pairs. `right`: (n,) share of the questions put to a sample that are answered
    exactly as the teacher (or the truth, on source rows) does. `probability`: (n,) mean over them
    of the geometric mean probability of that answer's tokens; it moves before `right` does.
    `calibration_error`: over all questions, how far the adapter's confidence in its own answers is
    from how often they are right (ECE, 0..1).
    """

    right: tuple[float, ...] = ()
    probability: tuple[float, ...] = ()
    calibration_error: float = 0.0

    @property
    def num(self) -> int:
        return len(self.right)

    @property
    def share(self) -> float:
        """Mean of `right`; 0 of an empty set."""
        return sum(self.right) / max(len(self.right), 1)

    @property
    def mean_probability(self) -> float:
        """Mean of `probability`; 0 of an empty set."""
        return sum(self.probability) / max(len(self.probability), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class GateScores:
    """What one adapter does on the gate's three sets.

    `holdout`: samples no training has seen, against the teacher. `rehearsal`: the same of earlier
    rounds. `source`: held-out source rows, all tokens, against true answers. `num_steps`: mean
    generated tokens of an answer to a source row. `finite`: no NaN or infinity anywhere.
    """

    holdout: Marks
    source: Marks
    rehearsal: Marks = Marks()
    num_steps: float
    finite: bool = True
