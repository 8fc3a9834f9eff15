"""A version's P(IK) head: the same job and weights, the same bytes; nothing from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from driftline_cloud.distill import teacher
from driftline_cloud.distill.examples import from_samples
from driftline_cloud.distill.p_ik import version_heads
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import DistillJob
from driftline_shared.callbacks import ignore
from driftline_shared.p_ik.head import head_from_bytes
from tests.fakes.pair_samples import make_job, make_samples

SETTINGS: dict[str, object] = {"threads": 1, "confidence_floor": 0.0}


@pytest.fixture(autouse=True)
def few_rows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(version_heads, "SOURCE_ROWS", 12)
        patch.setattr(version_heads, "SPOILT_ROWS", 10)
        patch.setattr(version_heads, "FURTHER_QUESTIONS", 1)
        yield


@pytest.fixture
def job(models: Models) -> DistillJob:
    """Of each two samples the student answers one as the teacher is said to."""
    made = make_job(models, SETTINGS, make_samples(models.pair, 24), (), seed=7)
    asked = from_samples(made.samples, models.pair.token_space)
    said = teacher.answer(models.student, models.pair, asked, DistilSettings(threads=1), ignore)
    texts = [own.text if n % 2 else "never this" for n, own in enumerate(said)]
    labels = [replace(one, text=text) for one, text in zip(made.labels, texts, strict=True)]
    return replace(made, labels=labels)


def test_equal_jobs_give_equal_heads_of_the_version_asked_for(
    models: Models, job: DistillJob
) -> None:
    first = version_heads.fit(job, job.start, models, version=4)
    head = head_from_bytes(first)
    assert head.version == 4
    assert head.num_source <= 12
    assert version_heads.fit(job, job.start, models, version=4) == first


def test_a_head_is_fitted_on_the_weights_that_are_given(models: Models, job: DistillJob) -> None:
    first = head_from_bytes(version_heads.fit(job, job.start, models, version=1))
    moved = {name: array + 0.002 for name, array in job.start.items()}
    other = head_from_bytes(version_heads.fit(job, moved, models, version=1))
    assert first.weights.tolist() != other.weights.tolist()


def test_a_student_that_is_always_wrong_gets_none(models: Models, job: DistillJob) -> None:
    never = replace(job, labels=[replace(one, text="never this") for one in job.labels])
    assert version_heads.fit(never, job.start, models, version=1) == b""
