"""Trains a method's weights and the student together: next-token cross-entropy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor, nn

from driftline_lab.recipes.compressors.reading import Reading, answer_loss
from driftline_lab.recipes.compressors.student import Student
from driftline_lab.recipes.tiny.training import LanguagePlan, View, draw_questions
from driftline_lab.recipes.training import Optimizer, Report

Checkpoint = Callable[[int], None]
"""Called after every `CHECKPOINT_STEPS` steps with the number of steps done."""

CHECKPOINT_STEPS = 200


def train(
    student: Student,
    reading: Reading,
    views: Sequence[View],
    plan: LanguagePlan,
    report: Report,
    checkpoint: Checkpoint,
) -> None:
    """Trains in place: the method's weights, and what of the student the reading names; the rest
    stays as it is.

    The order of pictures and questions follows from `plan.seed`.
    """
    rng = np.random.default_rng(plan.seed)
    model = student.model
    trained: dict[str, Tensor] = {
        **dict(nn.ModuleList(reading.modules).named_parameters()),
        **reading.weights,
    }
    model.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)
    optimizer = Optimizer(trained, plan)
    model.train()
    for step in range(plan.num_steps):
        drawn = [views[i] for i in rng.integers(len(views), size=plan.pictures_per_step)]
        loss = answer_loss(student, reading, drawn, draw_questions(drawn, plan, rng))
        optimizer.step(step, loss)
        report(step, float(loss.detach()))
        if (step + 1) % CHECKPOINT_STEPS == 0:
            checkpoint(step + 1)
    model.eval().requires_grad_(False)
