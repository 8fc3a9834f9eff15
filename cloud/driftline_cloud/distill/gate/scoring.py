"""Scores adapters on the gate's sets: what `rule.judge` compares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftline_cloud.distill import passes
from driftline_cloud.distill.agreement import agree
from driftline_cloud.distill.examples import Example, by_size
from driftline_cloud.distill.gate.evidence import Evidence, GateSet, gather
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, as_on_devices
from driftline_cloud.jobs import GateScores, Marks, ScoreJob
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.update import Adapter

STEP_ROWS = 64
"""Source rows that are really generated, to count the steps of an answer."""


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
    error = seen.calibration_error if seen.finite else 1.0
    return Marks(right=right, probability=probability, calibration_error=error), seen.finite


def _num_steps(models: Models, examples: Sequence[Example], settings: DistilSettings) -> float:
    lengths: list[int] = []
    for batch in by_size(examples, settings.label_batch_size):
        prompt = passes.prompt(models.student, [examples[i] for i in batch])
        generated = models.student.generate(prompt, models.pair.max_new_tokens)
        lengths += [int(n) for n in generated.lengths]
    return float(np.mean(lengths)) if lengths else 0.0
