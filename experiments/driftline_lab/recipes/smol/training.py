"""Trains one side: first the projector alone towards the words' embeddings, then everything.

The first stage takes a minute and spares the second its plateau: projected tokens come to lie where
the language model keeps the name of what is seen, so that naming begins as copying.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from driftline_lab.recipes.packing import IGNORE, Packed
from driftline_lab.recipes.smol.learner import Learner
from driftline_lab.recipes.smol.lessons import KEEP_SHARES, Lessons, draw_kept
from driftline_lab.recipes.training import Optimizer, Report, Schedule

_WARM_BATCH = 192
_WARM_RATE = 2e-3
_WARM_TEMPERATURE = 0.07


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan(Schedule):
    """How one side is trained. `num_warm_steps`: of the projector alone, before.

    `teacher_weight`: share of the loss that is the divergence from the teacher's answers, where a
    teacher is given.
    """

    num_warm_steps: int
    questions_per_picture: int = 4
    warmup_steps: int = 30
    weight_decay: float = 0.01
    teacher_weight: float = 0.7

    def shared(self, share: float) -> Plan:
        """The same plan over a share of its steps, two at least."""
        return replace(
            self,
            num_warm_steps=max(2, round(self.num_warm_steps * share)),
            num_steps=max(2, round(self.num_steps * share)),
            warmup_steps=max(1, round(self.warmup_steps * share)),
        )


def warm_projector(
    learner: Learner, lessons: Lessons, names: Sequence[Sequence[int]], plan: Plan, report: Report
) -> None:
    """The mean of a picture's projected tokens learns to be its name's mean embedding.

    Loss: squared error in units of the embeddings' variance, and cross-entropy over all names by
    cosine.
    """
    rng = np.random.default_rng([plan.seed, 1])
    table = learner.table().detach().float()
    wanted = torch.stack([table[torch.tensor(ids)].mean(0) for ids in names])  # (C, W)
    spread = wanted.var()
    optimizer = torch.optim.AdamW(learner.projector.parameters(), lr=_WARM_RATE)
    styles = list(lessons.tokens)
    for step in range(plan.num_warm_steps):
        for group in optimizer.param_groups:
            group["lr"] = _WARM_RATE * 0.5 * (1 + math.cos(math.pi * step / plan.num_warm_steps))
        tokens = lessons.tokens[styles[step % len(styles)]]
        kept = draw_kept(_WARM_BATCH, KEEP_SHARES[rng.integers(1, len(KEEP_SHARES))], rng)
        concept = rng.integers(tokens.shape[0], size=_WARM_BATCH)
        view = rng.integers(tokens.shape[1], size=_WARM_BATCH)
        visual = torch.from_numpy(tokens[concept[:, None], view[:, None], kept]).float()
        with torch.autocast("cpu", torch.bfloat16):
            seen = learner.projector(visual)
        mean, target = seen.float().mean(1), torch.from_numpy(concept)
        cosine = F.normalize(mean - wanted.mean(0)) @ F.normalize(wanted - wanted.mean(0)).T
        naming = F.cross_entropy(cosine / _WARM_TEMPERATURE, target)
        loss = naming + ((mean - wanted[target]) ** 2).mean() / spread
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        report(step, float(naming.detach()))


def train(
    learner: Learner,
    lessons: Lessons,
    plan: Plan,
    report: Report,
    *,
    teacher: Learner | None = None,
    checkpoint: Path | None = None,
    every: int = 100,
) -> None:
    """Trains in place. With `checkpoint`, goes on from it and writes it `every` so many steps."""
    optimizer = Optimizer(learner.trained(), plan)
    first = 0 if checkpoint is None else optimizer.resume(checkpoint)
    learner.train()
    for step in range(first, plan.num_steps):
        # A step draws by its own number, so that a resumed run sees what a straight one sees.
        rng = np.random.default_rng([plan.seed, 2, step])
        packed, visual = lessons.draw(plan.pictures_per_step, plan.questions_per_picture, rng)
        answer_loss, teacher_loss = losses(learner, packed, visual, teacher)
        weight = plan.teacher_weight if teacher is not None else 0.0
        optimizer.step(step, (1 - weight) * answer_loss + weight * teacher_loss)
        report(step, float(answer_loss.detach()))
        if checkpoint is not None and ((step + 1) % every == 0 or step + 1 == plan.num_steps):
            optimizer.save(checkpoint, step + 1)
    learner.eval()


def losses(
    learner: Learner, packed: Packed, visual: Tensor, teacher: Learner | None
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the answer tokens, and their divergence from the teacher's."""
    wanted = packed.labels != IGNORE
    logits = learner.logits(learner.hidden(packed, visual)[wanted])
    answer_loss = F.cross_entropy(logits, packed.labels[wanted])
    if teacher is None:
        return answer_loss, torch.zeros(())
    with torch.no_grad():
        target = teacher.logits(teacher.hidden(packed, visual)[wanted]).log_softmax(-1)
    divergence = F.kl_div(logits.log_softmax(-1), target, log_target=True, reduction="batchmean")
    return answer_loss, divergence
