"""The gate's evidence: held-out samples under more questions, as far as the teacher is sure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driftline_cloud.distill import teacher
from driftline_cloud.distill.gate.evidence import LastEvidence, gather
from driftline_cloud.distill.gate.scoring import score
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import ScoreJob
from driftline_shared.callbacks import ignore
from tests.fakes.pair_samples import make_samples


@pytest.fixture
def job(models: Models) -> ScoreJob:
    samples = [
        replace(sample, question=f"{sample.question} {number}")
        for number, sample in enumerate(make_samples(models.pair, 6))
    ]
    settings = DistilSettings(threads=1)
    return ScoreJob(
        pair_dir=models.pair.dir,
        holdout=samples,
        labels=teacher.label(models.teacher, models.pair, samples, settings, ignore),
        questions=3,
        seed=5,
        settings={"threads": 1, "confidence_floor": 0.0},
    )


def test_each_sample_is_asked_what_others_were_asked_once(models: Models, job: ScoreJob) -> None:
    found = gather(job, models).holdout
    assert found.num_samples == 6 < len(found.examples) == len(found.owner)
    assert list(found.owner[:6]) == list(range(6))
    asked = [(int(o), e.question) for o, e in zip(found.owner, found.examples, strict=True)]
    assert len(asked) == len(set(asked))
    for owner, example in zip(found.owner, found.examples, strict=True):
        assert example.values is found.examples[owner].values
        assert example.answer


def test_answers_that_the_teacher_is_unsure_of_do_not_judge(models: Models, job: ScoreJob) -> None:
    doubtful = replace(job, settings={**job.settings, "confidence_floor": 1.0})
    assert len(gather(doubtful, models).holdout.examples) == 6
    assert len(gather(replace(job, questions=0), models).holdout.examples) == 6
    assert gather(job, models).rehearsal.num_samples == 0


def test_a_sample_that_the_teacher_said_nothing_to_does_not_judge(
    models: Models, job: ScoreJob
) -> None:
    silent = [replace(job.labels[0], tokens=()), *job.labels[1:]]
    found = gather(replace(job, labels=silent), models).holdout
    assert found.num_samples == 5
    assert all(example.answer for example in found.examples)


def test_the_same_job_is_gathered_once(models: Models, job: ScoreJob) -> None:
    last = LastEvidence()
    first = last.of(job, models)
    assert last.of(replace(job), models) is first
    assert last.of(replace(job, seed=6), models) is not first
    # Given or gathered, the scores are the same, and count samples.
    (found,) = score(job, [models.initial], models, last.of(job, models))
    assert score(job, [models.initial], models) == [found]
    assert found.holdout.num == 6
