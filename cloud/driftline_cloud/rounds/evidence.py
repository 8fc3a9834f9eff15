"""What the gate of a round looks at: held-out samples, each under several questions.

A held-out sample is dear, a further answer of the teacher to what it shows costs no uplink. 27
samples under six questions tell more than under one; how much more, the gate sees for itself: it
counts samples, not questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from driftline_cloud.jobs import Label, ScoreJob
from driftline_cloud.workers.workers import Workers
from driftline_shared.callbacks import ignore
from driftline_shared.tokens import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """Samples that no training has seen, with the teacher's labels, in the same order."""

    samples: Sequence[Sample]
    labels: Sequence[Label]


def gather(
    workers: Workers,
    pair_dir: Path,
    *,
    held: HeldOut,
    older: HeldOut,
    questions: int,
    seed: int,
    least_confidence: float,
    settings: Mapping[str, object],
) -> ScoreJob:
    """The gate's job: `held` of this round, `older` of earlier ones, each under `questions` further
    ones, as far as the teacher is at least `least_confidence` sure of its answer.
    """
    asked = [_asked(one, questions, seed) for one in (held, older)]
    more = [sample for _, samples in asked for sample in samples]
    labels = workers.label(pair_dir, more, ignore) if more else []
    known = {label.sample_id: label for label in labels}
    parts = []
    for own, (owners, samples) in zip((held, older), asked, strict=True):
        sure = [
            (owner, sample, known[sample.id])
            for owner, sample in zip(owners, samples, strict=True)
            if known[sample.id].confidence >= least_confidence and known[sample.id].tokens
        ]
        parts.append(
            (
                [*own.samples, *(sample for _, sample, _ in sure)],
                [*own.labels, *(label for _, _, label in sure)],
                [*range(len(own.samples)), *(owner for owner, _, _ in sure)],
            )
        )
    (holdout, labels, owner), (rehearsal, rehearsal_labels, rehearsal_owner) = parts
    return ScoreJob(
        pair_dir=pair_dir,
        holdout=holdout,
        labels=labels,
        holdout_owner=owner,
        rehearsal=rehearsal,
        rehearsal_labels=rehearsal_labels,
        rehearsal_owner=rehearsal_owner,
        settings=dict(settings),
    )


def _asked(held: HeldOut, questions: int, seed: int) -> tuple[list[int], list[Sample]]:
    """Owners and samples: each one's tokens under questions of others of the set, none twice."""
    rng = np.random.default_rng([seed, 8])
    texts = [sample.question for sample in held.samples]
    owners: list[int] = []
    found: list[Sample] = []
    known = {(place, text) for place, text in enumerate(texts)}
    for _ in range(questions):
        for place, other in enumerate(rng.permutation(len(texts))):
            text = texts[int(other)]
            if (place, text) in known:
                continue
            known.add((place, text))
            owners.append(place)
            sample = held.samples[place]
            found.append(replace(sample, id=_id(sample.id, text), question=text))
    return owners, found


def _id(sample_id: bytes, question: str) -> bytes:
    """Another id of the same length: a label belongs to a question, not to tokens."""
    return hashlib.sha256(sample_id + question.encode()).digest()[: len(sample_id)]
