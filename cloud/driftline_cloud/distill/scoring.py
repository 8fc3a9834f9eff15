"""Scores adapters on the gate's sets: what `gate.judge` compares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import (
    Example,
    by_size,
    draw_rows,
    from_samples,
    from_source,
    split_source,
)
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, as_on_devices
from driftline_cloud.jobs import GateScores, ScoreJob
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.update import Adapter

STEP_ROWS = 64
"""Source rows that are really generated, to count the steps of an answer."""

_SEED = 20_231_216
"""The gate's source rows are the same in every round: scores of two rounds can be compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Over a set: `share` of answers greedily given exactly, `probability` mean of their geometric
    mean probability, and whether every logit was `finite`."""

    share: float
    probability: float
    finite: bool


def score(job: ScoreJob, adapters_: Sequence[Adapter], models: Models) -> list[GateScores]:
    """What each adapter does on the held-out samples, source rows and rehearsal of `job`."""
    settings = DistilSettings.from_mapping(job.settings)
    models = as_on_devices(models, settings)
    space = models.pair.token_space
    holdout = from_samples(job.holdout, space, job.labels)
    rehearsal = from_samples(job.rehearsal, space, job.rehearsal_labels)
    source = _source(models, settings)
    found = []
    with passes.fixed_threads(settings.threads):
        for adapter in adapters_:
            slots.write(models.student.model, adapter)
            sets = [agree(models.student, rows, settings) for rows in (holdout, source, rehearsal)]
            known, true, older = sets
            found.append(
                GateScores(
                    agreement=known.share,
                    probability=known.probability,
                    source_accuracy=true.share,
                    source_probability=true.probability,
                    rehearsal_agreement=older.share if rehearsal else 1.0,
                    num_steps=_num_steps(models, source[:STEP_ROWS], settings),
                    finite=all(one.finite for one in sets),
                    num_holdout=len(holdout),
                    num_source=len(source),
                    num_rehearsal=len(rehearsal),
                )
            )
    return found


@torch.no_grad()
def agree(
    model: MultimodalModel, examples: Sequence[Example], settings: DistilSettings
) -> Agreement:
    """How well the model answers as the examples do, in one pass and without generating.

    Given the answer so far, the greedy next token must be the answer's at every step; by induction
    that holds exactly when greedy generation writes the same tokens, the end token included.
    """
    hits, probabilities, finite = 0, 0.0, True
    for batch in by_size(examples, settings.label_batch_size):
        seen = passes.run(model, [examples[i] for i in batch])
        finite = finite and bool(torch.isfinite(seen.logits).all())
        right = (seen.logits.argmax(dim=-1) == seen.labels).split(seen.lengths)
        logs = torch.log_softmax(seen.logits.double(), dim=-1)
        chosen = logs.gather(1, seen.labels[:, None])[:, 0].split(seen.lengths)
        hits += sum(bool(row.all()) for row in right)
        probabilities += sum(float(row.mean().exp()) for row in chosen)
    count = max(len(examples), 1)
    return Agreement(share=hits / count, probability=probabilities / count, finite=finite)


def _source(models: Models, settings: DistilSettings) -> list[Example]:
    """The gate's source rows, all tokens, with their true answers."""
    source = models.pair.source_set()
    rows = draw_rows(
        split_source(source)[1], settings.gate_source_rows, np.random.default_rng(_SEED)
    )
    return [from_source(source, row, models.student.answer_ids(row.answer)) for row in rows]


def _num_steps(models: Models, examples: Sequence[Example], settings: DistilSettings) -> float:
    lengths: list[int] = []
    for batch in by_size(examples, settings.label_batch_size):
        prompt = passes.prompt(models.student, [examples[i] for i in batch])
        generated = models.student.generate(prompt, models.pair.max_new_tokens)
        lengths += [int(n) for n in generated.lengths]
    return float(np.mean(lengths)) if lengths else 0.0
