"""Scores of the gate: the one-pass agreement against real generation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftline_cloud.distill import passes
from driftline_cloud.distill.agreement import agree
from driftline_cloud.distill.examples import Example, by_size, from_samples
from driftline_cloud.distill.gate.evidence import GateSet
from driftline_cloud.distill.gate.scoring import marks, score
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import Label, ScoreJob
from tests.fakes.pair_samples import make_samples

SETTINGS = DistilSettings(threads=1, label_batch_size=8)


def _greedy(models: Models, examples: list[Example], steps: int) -> list[tuple[int, ...]]:
    found: dict[int, tuple[int, ...]] = {}
    for batch in by_size(examples, 8):
        prompt = passes.prompt(models.student, [examples[i] for i in batch])
        said = models.student.generate(prompt, steps)
        found |= {i: tuple(row) for i, row in zip(batch, said.tokens, strict=True)}
    return [found[i] for i in range(len(examples))]


def test_agreement_in_one_pass_is_agreement_of_generated_answers(models: Models) -> None:
    examples = from_samples(make_samples(models.pair, 12), models.pair.token_space)
    said = _greedy(models, examples, models.pair.max_new_tokens)
    # Half of the labels are what it says, the others differ in one token.
    answers = [row if i % 2 else (*row[:-1], (row[-1] + 1) % 200 + 4) for i, row in enumerate(said)]
    labelled = [replace(e, answer=a) for e, a in zip(examples, answers, strict=True)]
    assert agree(models.student, labelled, SETTINGS).share == pytest.approx(0.5)


def test_scores_see_the_adapter(models: Models) -> None:
    samples = make_samples(models.pair, 10)
    said = _greedy(models, from_samples(samples, models.pair.token_space), 4)
    labels = [
        Label(sample_id=sample.id, text="", tokens=row, confidence=1.0)
        for sample, row in zip(samples, said, strict=True)
    ]
    job = ScoreJob(
        pair_dir=models.pair.dir,
        holdout=samples,
        labels=labels,
        settings={"threads": 1},
    )
    broken = {name: array.copy() for name, array in models.initial.items()}
    broken["norm"][:] = np.nan
    own, nan = score(job, [models.initial, broken], models)
    assert own.holdout.share == 1.0 and own.finite
    assert own.holdout.num == 10 and own.source.num == 9
    assert 0 < own.num_steps <= models.pair.max_new_tokens
    assert own.rehearsal.num == 0
    assert not nan.finite


def test_marks_are_means_over_the_questions_of_each_sample(models: Models) -> None:
    examples = from_samples(make_samples(models.pair, 4), models.pair.token_space)
    said = _greedy(models, examples, models.pair.max_new_tokens)
    right = [replace(e, answer=a) for e, a in zip(examples, said, strict=True)]
    wrong = replace(right[0], answer=(*said[0][:-1], (said[0][-1] + 1) % 200 + 4))
    owner = np.array([0, 1, 2, 3, 0])
    found, finite = marks(
        models.student, GateSet(examples=[*right, wrong], owner=owner, num_samples=4), SETTINGS
    )
    assert finite
    assert found.right == (0.5, 1.0, 1.0, 1.0)
    assert all(0 < one <= 1 for one in found.probability)
