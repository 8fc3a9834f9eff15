"""The gate's evidence: held-out samples under more questions, as far as the teacher is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from driftline_cloud.jobs import Label
from driftline_cloud.rounds.evidence import HeldOut, gather
from driftline_shared.callbacks import Progress
from driftline_shared.tokens import Sample
from tests.fakes.cloud import ReckoningWorkers, bare_pair, make_sample

NO_ONE = HeldOut(samples=(), labels=())


class _Unsure(ReckoningWorkers):
    """Sure of every other question it is asked."""

    def label(self, pair_dir: Path, samples: Sequence[Sample], progress: Progress) -> list[Label]:
        labels = super().label(pair_dir, samples, progress)
        return [replace(label, confidence=0.3 if n % 2 else 0.9) for n, label in enumerate(labels)]


def _held(tmp_path: Path, count: int) -> HeldOut:
    space = bare_pair(tmp_path / "pair").token_space
    samples = [
        replace(make_sample(number, space), question=f"question {number}?")
        for number in range(count)
    ]
    return HeldOut(samples=samples, labels=ReckoningWorkers().label(tmp_path, samples, print))


def test_each_sample_is_asked_what_others_were_asked_once(tmp_path: Path) -> None:
    held, workers = _held(tmp_path, 8), ReckoningWorkers()
    job = gather(
        workers,
        tmp_path,
        held=held,
        older=NO_ONE,
        questions=3,
        seed=5,
        least_confidence=0.5,
        settings={"threads": 1},
    )
    assert list(job.holdout[:8]) == list(held.samples) and list(job.labels[:8]) == list(held.labels)
    assert len(job.holdout) == len(job.labels) == len(job.holdout_owner)
    assert workers.num_labelled == len(job.holdout) - 8 > 8
    pairs = [(o, s.question) for o, s in zip(job.holdout_owner, job.holdout, strict=True)]
    assert len(pairs) == len(set(pairs))
    for owner, sample in zip(job.holdout_owner, job.holdout, strict=True):
        assert sample.tokens == held.samples[owner].tokens
    assert len({sample.id for sample in job.holdout}) == len(job.holdout)
    assert [label.sample_id for label in job.labels] == [sample.id for sample in job.holdout]
    assert job.rehearsal == job.rehearsal_owner == []


def test_answers_that_the_teacher_is_unsure_of_do_not_judge(tmp_path: Path) -> None:
    held, workers = _held(tmp_path, 8), _Unsure()
    job = gather(
        workers,
        tmp_path,
        held=NO_ONE,
        older=held,
        questions=3,
        seed=5,
        least_confidence=0.5,
        settings={},
    )
    more = len(job.rehearsal) - 8
    assert more == (workers.num_labelled + 1) // 2
    assert job.holdout == []


def test_one_sample_or_no_further_question_asks_nobody(tmp_path: Path) -> None:
    workers = ReckoningWorkers()
    for count, questions in ((1, 5), (4, 0)):
        held = _held(tmp_path / str(count), count)
        job = gather(
            workers,
            tmp_path,
            held=held,
            older=NO_ONE,
            questions=questions,
            seed=1,
            least_confidence=0.5,
            settings={},
        )
        assert list(job.holdout) == list(held.samples)
    assert workers.num_labelled == 0
