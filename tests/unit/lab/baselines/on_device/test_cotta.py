"""CoTTA: its average, its restore, its loss; the teacher is what answers."""

from __future__ import annotations

import numpy as np
import torch

from driftline_cloud.distill.student import Models
from driftline_lab.baselines.on_device import cotta
from driftline_shared.models.adapters import slots
from tests.fakes.pair_samples import answered


def test_the_average_keeps_its_share_of_the_teacher() -> None:
    teacher, student = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, -2.0])}
    assert torch.allclose(cotta.averaged(teacher, student, 0.75)["w"], torch.tensor([1.5, 1.0]))


def test_about_the_share_of_weights_is_restored() -> None:
    weights, source = {"w": torch.ones(200, 200)}, {"w": torch.zeros(200, 200)}
    found = cotta.restored(weights, source, 0.01, np.random.default_rng(0))["w"]
    share = float((found == 0).float().mean())
    # Five standard deviations of a binomial of 40,000.
    assert abs(share - 0.01) < 5 * (0.01 * 0.99 / 40_000) ** 0.5
    assert torch.equal(
        cotta.restored(weights, source, 1.0, np.random.default_rng(0))["w"], source["w"]
    )


def test_the_loss_is_the_cross_entropy_with_the_teacher() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    wanted = torch.tensor([[0.5, 0.5, 0.0]])
    expected = 0.5 * np.log(2) + 0.5 * np.log(4)
    assert abs(float(cotta.consistency(logits, wanted)) - expected) < 1e-6


def test_the_device_is_left_with_the_teacher_one_step_on(models: Models) -> None:
    learner = cotta.Cotta(models.student, 3)
    learner.learn(answered(models, 6))
    held = slots.read(models.student.model)
    moved = max(float(np.abs(held[n] - models.initial[n]).max()) for n in held)
    # A step of Adam is at most its rate, and the teacher follows by a thousandth of it.
    most = (1 - cotta.AVERAGE) * cotta.LEARNING_RATE
    assert 0 < moved < 1.1 * most + 1e-7
    assert learner.num_steps == 1


def test_one_seed_gives_one_teacher(models: Models) -> None:
    found = []
    for _ in range(2):
        slots.write(models.student.model, models.initial)
        learner = cotta.Cotta(models.student, 3)
        for _ in range(2):
            learner.learn(answered(models, 6))
        found.append(slots.read(models.student.model))
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])
