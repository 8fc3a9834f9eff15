"""Agreement with given answers, and how sure the student is of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from driftline_cloud.distill import passes
from driftline_cloud.distill.agreement import agree, calibration_error, own_steps
from driftline_cloud.distill.examples import from_samples
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from tests.fakes.pair_samples import make_samples

SETTINGS = DistilSettings(threads=1, label_batch_size=8)


def test_calibration_error_is_the_weighted_gap_of_bins() -> None:
    # Two bins: three answers at 0.9 of which two are right, one at 0.2 that is right.
    error = calibration_error([0.9, 0.9, 0.9, 0.2], [True, True, False, True], bins=5)
    assert error == pytest.approx(0.75 * (0.9 - 2 / 3) + 0.25 * 0.8)
    assert calibration_error([1.0] * 4, [True] * 4) == 0.0
    assert calibration_error([], []) == 0.0


def test_surer_and_wronger_is_a_larger_error() -> None:
    right = [True] * 6 + [False] * 4
    assert calibration_error([0.6] * 10, right) == pytest.approx(0.0)
    assert calibration_error([0.95] * 10, right) == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("hits", "steps"), [([1, 1, 1], 3), ([0, 1, 1], 1), ([1, 0, 1], 2), ([0], 1)]
)
def test_an_answer_is_the_models_own_up_to_the_first_miss(hits: list[int], steps: int) -> None:
    assert own_steps(torch.tensor(hits, dtype=torch.bool)) == steps


def test_confidence_is_that_of_the_answer_the_model_gives(models: Models) -> None:
    examples = from_samples(make_samples(models.pair, 6), models.pair.token_space)
    said = []
    for example in examples:
        generated = models.student.generate(passes.prompt(models.student, [example]), 4)
        said.append(tuple(generated.tokens[0]))
    own = [replace(example, answer=row) for example, row in zip(examples, said, strict=True)]
    found = agree(models.student, own, SETTINGS)
    assert found.right.all()
    assert found.confidence == pytest.approx(found.probability)
    other = [replace(one, answer=((one.answer[0] + 1) % 200 + 4, 2)) for one in own]
    missed = agree(models.student, other, SETTINGS)
    assert not missed.right.any()
    assert (missed.confidence > missed.probability).all()
