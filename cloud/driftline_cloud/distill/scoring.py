"""Scores adapters on the gate's sets: what `gate.judge` compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_cloud.distill import passes
from driftline_cloud.distill.evidence import Evidence, GateSet, gather
from driftline_cloud.distill.examples import (
    Example,
    by_size,
)
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, as_on_devices
from driftline_cloud.jobs import GateScores, Marks, ScoreJob
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.update import Adapter

STEP_ROWS = 64
"""Source rows that are really generated, to count the steps of an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Over a set, example by example: `right` (n,) bool, whether the answer is greedily given
    exactly; `probability` (n,) float64, its tokens' geometric mean probability; and whether every
    logit was `finite`."""

    right: NDArray[np.bool_]
    probability: NDArray[np.float64]
    finite: bool

    @property
    def share(self) -> float:
        """Of right answers; 0 of an empty set."""
        return float(self.right.mean()) if len(self.right) else 0.0


def score(
    job: ScoreJob,
    adapters_: Sequence[Adapter],
    models: Models,
    evidence: Evidence | None = None,
) -> list[GateScores]:
    """What each adapter does on the evidence of `job`: `gather` makes it where it is not given."""
    settings = DistilSettings.from_mapping(job.settings)
    models = as_on_devices(models, settings)
    evidence = evidence or gather(job, models)
    sets = (evidence.holdout, evidence.source, evidence.rehearsal)
    found = []
    with passes.fixed_threads(settings.threads):
        for adapter in adapters_:
            slots.write(models.student.model, adapter)
            marked = [marks(models.student, one, settings) for one in sets]
            (holdout, _), (source, _), (rehearsal, _) = marked
            found.append(
                GateScores(
                    holdout=holdout,
                    source=source,
                    rehearsal=rehearsal,
                    num_steps=_num_steps(models, evidence.source.examples[:STEP_ROWS], settings),
                    finite=all(finite for _, finite in marked),
                )
            )
    return found


def marks(model: MultimodalModel, asked: GateSet, settings: DistilSettings) -> tuple[Marks, bool]:
    """Means over the questions of each sample, and whether every logit was finite."""
    seen = agree(model, asked.examples, settings)
    count = np.bincount(asked.owner, minlength=asked.num_samples)
    means = [
        np.bincount(asked.owner, weights=values, minlength=asked.num_samples) / np.maximum(count, 1)
        for values in (seen.right.astype(np.float64), seen.probability)
    ]
    right, probability = (tuple(float(one) for one in mean) for mean in means)
    return Marks(right=right, probability=probability), seen.finite


@torch.no_grad()
def agree(
    model: MultimodalModel, examples: Sequence[Example], settings: DistilSettings
) -> Agreement:
    """How well the model answers as the examples do, in one pass and without generating.

    Given the answer so far, the greedy next token must be the answer's at every step; by induction
    that holds exactly when greedy generation writes the same tokens, the end token included.
    """
    right = np.zeros(len(examples), np.bool_)
    probability = np.zeros(len(examples), np.float64)
    finite = True
    for batch in by_size(examples, settings.label_batch_size):
        seen = passes.run(model, [examples[i] for i in batch])
        finite = finite and bool(torch.isfinite(seen.logits).all())
        hits = (seen.logits.argmax(dim=-1) == seen.labels).split(seen.lengths)
        logs = torch.log_softmax(seen.logits.double(), dim=-1)
        chosen = logs.gather(1, seen.labels[:, None])[:, 0].split(seen.lengths)
        right[batch] = [bool(row.all()) for row in hits]
        probability[batch] = [float(row.mean().exp()) for row in chosen]
    return Agreement(right=right, probability=probability, finite=finite)


def _num_steps(models: Models, examples: Sequence[Example], settings: DistilSettings) -> float:
    lengths: list[int] = []
    for batch in by_size(examples, settings.label_batch_size):
        prompt = passes.prompt(models.student, [examples[i] for i in batch])
        generated = models.student.generate(prompt, models.pair.max_new_tokens)
        lengths += [int(n) for n in generated.lengths]
    return float(np.mean(lengths)) if lengths else 0.0
