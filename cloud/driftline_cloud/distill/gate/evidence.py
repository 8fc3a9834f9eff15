"""What the gate looks at: held-out samples under several questions each, and source rows.

A held-out sample is dear, a further answer of the teacher to what it shows costs no uplink. 27
samples under six questions tell more than under one; how much more, the gate sees for itself: it
counts samples, not questions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import (
    Example,
    draw_rows,
    from_samples,
    from_source,
    split_source,
    sure,
)
from driftline_cloud.distill.questions import ask_more
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import Label, ScoreJob
from driftline_shared.tokens import Sample

_SEED = 20_231_216
"""The gate's source rows are the same in every round: scores of two rounds can be compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateSet:
    """Examples with the sample that each belongs to: `owner` (n,) in 0..`num_samples`."""

    examples: list[Example]
    owner: NDArray[np.int64]
    num_samples: int

    @staticmethod
    def of(examples: Sequence[Example]) -> GateSet:
        """One question a sample."""
        owner = np.arange(len(examples), dtype=np.int64)
        return GateSet(examples=list(examples), owner=owner, num_samples=len(examples))


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The gate's three sets: see `GateScores`."""

    holdout: GateSet
    rehearsal: GateSet
    source: GateSet


def gather(job: ScoreJob, models: Models) -> Evidence:
    """The sets of `job`; the teacher is asked here."""
    settings = DistilSettings.from_mapping(job.settings)
    with passes.fixed_threads(settings.threads):
        return Evidence(
            holdout=_asked(job.holdout, job.labels, job, models, settings),
            rehearsal=_asked(job.rehearsal, job.rehearsal_labels, job, models, settings),
            source=GateSet.of(_source(models, settings)),
        )


class LastEvidence:
    """The evidence of the job asked for last: one round scores a dozen adapters on the same."""

    def __init__(self) -> None:
        self._kept: tuple[str, Models, Evidence] | None = None

    def of(self, job: ScoreJob, models: Models) -> Evidence:
        """See `gather`."""
        key = _key(job)
        if self._kept is None or self._kept[0] != key or self._kept[1] is not models:
            self._kept = None
            self._kept = (key, models, gather(job, models))
        return self._kept[2]


def _key(job: ScoreJob) -> str:
    ids = [[sample.id.hex() for sample in part] for part in (job.holdout, job.rehearsal)]
    answers = [[label.tokens for label in part] for part in (job.labels, job.rehearsal_labels)]
    return json.dumps([ids, answers, job.questions, job.seed, job.settings], sort_keys=True)


def _asked(
    samples: Sequence[Sample],
    labels: Sequence[Label],
    job: ScoreJob,
    models: Models,
    settings: DistilSettings,
) -> GateSet:
    """Each sample under its own question, and under those of others to which the teacher is sure of
    its answer; a sample that the teacher said nothing to tells nothing.
    """
    samples, labels = sure(samples, labels, 0.0)
    own = from_samples(samples, models.pair.token_space, labels)
    places = {id(example.values): place for place, example in enumerate(own)}
    rng = np.random.default_rng([job.seed, 8])
    extra = ask_more(models, own, job.questions, settings, rng)
    owner = [*range(len(own)), *(places[id(example.values)] for example in extra)]
    return GateSet(examples=[*own, *extra], owner=np.asarray(owner, np.int64), num_samples=len(own))


def _source(models: Models, settings: DistilSettings) -> list[Example]:
    """The gate's source rows, all tokens, with their true answers."""
    source = models.pair.source_set()
    rows = draw_rows(
        split_source(source)[1], settings.gate_source_rows, np.random.default_rng(_SEED)
    )
    return [from_source(source, row, models.student.answer_ids(row.answer)) for row in rows]
