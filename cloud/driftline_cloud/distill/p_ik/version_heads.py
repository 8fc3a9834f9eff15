"""The P(IK) head that goes with a version: fitted on the very weights that devices will hold.

What it learns from is in the cloud already and costs no uplink: source rows, whole and spoilt, with
their true answers; the round's samples and rehearsal with the teacher's, each also with half of its
tokens; and further questions about the same tokens, which the teacher answers. Devices send what
they are unsure of, and the student has just learnt their samples: only the further questions say
how it does on what it was not taught. Held-out samples are not read: they judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from driftline_cloud.distill import passes, teacher
from driftline_cloud.distill.examples import Example, from_samples, keep_some, sure
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, as_on_devices
from driftline_cloud.jobs import DistillJob
from driftline_shared.callbacks import ignore
from driftline_shared.models.adapters import slots
from driftline_shared.models.fit.p_ik import IkQuestion, rows_of, rows_of_source
from driftline_shared.p_ik.fit import fit_head
from driftline_shared.p_ik.head import head_to_bytes
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter

SOURCE_ROWS, SPOILT_ROWS = 300, 600
MOST_SAMPLES = 256
FURTHER_QUESTIONS = 4
"""About each sample."""

OWN_WEIGHT, FURTHER_WEIGHT, HALF_WEIGHT = 2.7, 8.0, 2.7
"""Of each set, where source and spoilt rows weigh 1 each."""


def fit(job: DistillJob, adapter: Adapter, models: Models, *, version: int) -> bytes:
    """A head for `adapter`, what `version` decodes to, from the material of `job`; empty where it
    holds too few mistakes to learn from. The same job and adapter give the same bytes.
    """
    settings = models.settings(job.settings)
    models = as_on_devices(models, settings)
    pair, most = models.pair, models.pair.max_new_tokens
    rng = np.random.default_rng([job.seed, 5])
    with passes.fixed_threads(settings.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        slots.write(models.student.model, adapter)
        known = _known(job, models, settings)
        sets = (
            (known, OWN_WEIGHT),
            (_further(known, models, settings, rng), FURTHER_WEIGHT),
            ([_half(each, rng) for each in known], HALF_WEIGHT),
        )
        source, spoilt, kept = rows_of_source(
            models.student,
            pair.source_set(),
            most,
            num_source=SOURCE_ROWS,
            num_spoilt=SPOILT_ROWS,
        )
        drifted = [rows_of(models.student, rows, most, weight=w) for rows, w in sets if rows]
    head = fit_head([source, spoilt, *drifted], kept, version=version)
    return b"" if head is None else head_to_bytes(head)


def _known(job: DistillJob, models: Models, settings: DistilSettings) -> list[IkQuestion]:
    """The newest samples with the teacher's sure answers."""
    samples, labels = sure(job.samples, job.labels, settings.confidence_floor)
    older, older_labels = sure(job.rehearsal, job.rehearsal_labels, settings.confidence_floor)
    answers = [label.text for label in [*labels, *older_labels][:MOST_SAMPLES]]
    return _questions([*samples, *older][:MOST_SAMPLES], answers, models)


def _questions(
    samples: Sequence[Sample], answers: Sequence[str], models: Models
) -> list[IkQuestion]:
    return [
        IkQuestion(
            values=each.values, positions=each.positions, question=each.question, answer=answer
        )
        for each, answer in zip(
            from_samples(samples, models.pair.token_space), answers, strict=True
        )
    ]


def _further(
    known: Sequence[IkQuestion],
    models: Models,
    settings: DistilSettings,
    rng: np.random.Generator,
) -> list[IkQuestion]:
    """The same tokens under other samples' questions, with the teacher's sure answers."""
    asked = [
        Example(values=each.values, positions=each.positions, question=known[int(i)].question)
        for each in known
        for i in rng.integers(len(known), size=FURTHER_QUESTIONS)
    ]
    said = teacher.answer(models.teacher, models.pair, asked, settings, ignore) if asked else []
    return [
        IkQuestion(
            values=each.values,
            positions=each.positions,
            question=each.question,
            answer=answer.text,
        )
        for each, answer in zip(asked, said, strict=True)
        if answer.confidence >= settings.confidence_floor
    ]


def _half(row: IkQuestion, rng: np.random.Generator) -> IkQuestion:
    whole = Example(values=row.values, positions=row.positions, question=row.question)
    kept = keep_some(whole, max(1, whole.num_tokens // 2), rng)
    return replace(row, values=kept.values, positions=kept.positions)
