"""Trains a method's weights and the student together: next-token cross-entropy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from driftline_lab.recipes.compressors.reading import Reading, Rows, answer_loss
from driftline_lab.recipes.compressors.student import Student
from driftline_lab.recipes.tiny.training import LanguagePlan, Report, View

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
    trained = [
        *(parameter for module in reading.modules for parameter in module.parameters()),
        *reading.weights.values(),
    ]
    model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        trained, lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.98)
    )
    model.train()
    for step in range(plan.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        drawn = [views[i] for i in rng.integers(len(views), size=plan.pictures_per_step)]
        loss = answer_loss(student, reading, drawn, drawn_questions(drawn, plan, rng))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        report(step, float(loss.detach()))
        if (step + 1) % CHECKPOINT_STEPS == 0:
            checkpoint(step + 1)
    model.eval().requires_grad_(False)


def drawn_questions(views: Sequence[View], plan: LanguagePlan, rng: np.random.Generator) -> Rows:
    """Some questions of each view."""
    rows = []
    for view in views:
        number = min(plan.questions_per_picture, len(view.segments))
        order = rng.choice(len(view.segments), number, replace=False, p=view.chances)
        rows.append([view.segments[i] for i in order])
    return rows
