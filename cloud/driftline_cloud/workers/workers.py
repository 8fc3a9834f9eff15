"""The Workers protocol: where the heavy work of a round runs (one process, or a Ray cluster)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from driftline_cloud.distill.gate import GateScores
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter

Progress = Callable[[float], None]
"""Called with the share done, 0..1."""


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


class Workers(Protocol):
    """Labelling, distilling and scoring, wherever they run; the results do not depend on where."""

    def label(self, pair_dir: Path, samples: Sequence[Sample], progress: Progress) -> list[Label]:
        """Teacher labels in the order of `samples`."""

    def distil(self, job: DistillJob, progress: Progress) -> Distilled:
        """Train the adapters of one round."""

    def score(self, job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        """What each adapter does on the gate's sets, in order (see `distill.gate`)."""

    def close(self) -> None:
        """Let the workers go."""
