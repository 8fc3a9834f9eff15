"""Trains one side: first the projector alone towards the words' embeddings, then everything.

The first stage takes a minute and spares the second its plateau: projected tokens come to lie where
the language model keeps the name of what is seen, so that naming begins as copying.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from driftline_lab.recipes.packing import IGNORE, Packed
from driftline_lab.recipes.smol.learner import Learner
from driftline_lab.recipes.smol.lessons import KEEP_SHARES, Lessons, draw_kept

Report = Callable[[int, float], None]
"""Called with (step, loss) after each step."""

_WARM_BATCH = 192
_WARM_RATE = 2e-3
_WARM_TEMPERATURE = 0.07


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How one side is trained. `learning_rate` is the peak after warm-up, then cosine.

    `teacher_weight`: share of the loss that is the divergence from the teacher's answers, where a
    teacher is given.
    """

    num_warm_steps: int
    num_steps: int
    learning_rate: float
    pictures_per_step: int = 16
    questions_per_picture: int = 4
    warmup_steps: int = 30
    final_share: float = 0.02
    weight_decay: float = 0.01
    teacher_weight: float = 0.7
    seed: int = 0

    def shared(self, share: float) -> Plan:
        """The same plan over a share of its steps, two at least."""
        return replace(
            self,
            num_warm_steps=max(2, round(self.num_warm_steps * share)),
            num_steps=max(2, round(self.num_steps * share)),
            warmup_steps=max(1, round(self.warmup_steps * share)),
        )

    def rate(self, step: int) -> float:
        """The learning rate at `step`."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self.learning_rate * (self.final_share + (1 - self.final_share) * cosine)


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
    trained = learner.trained()
    optimizer = torch.optim.AdamW(
        trained.values(), lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.98)
    )
    first = 0
    if checkpoint is not None and checkpoint.exists():
        first = _resume(checkpoint, learner, optimizer)
    learner.train()
    for step in range(first, plan.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        # A step draws by its own number, so that a resumed run sees what a straight one sees.
        rng = np.random.default_rng([plan.seed, 2, step])
        packed, visual = lessons.draw(plan.pictures_per_step, plan.questions_per_picture, rng)
        answer_loss, teacher_loss = losses(learner, packed, visual, teacher)
        weight = plan.teacher_weight if teacher is not None else 0.0
        loss = (1 - weight) * answer_loss + weight * teacher_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step()
        report(step, float(answer_loss.detach()))
        if checkpoint is not None and ((step + 1) % every == 0 or step + 1 == plan.num_steps):
            _keep(checkpoint, learner, optimizer, step + 1)
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
        told = teacher.logits(teacher.hidden(packed, visual)[wanted]).log_softmax(-1)
    divergence = F.kl_div(logits.log_softmax(-1), told, log_target=True, reduction="batchmean")
    return answer_loss, divergence


def _keep(path: Path, learner: Learner, optimizer: torch.optim.Optimizer, step: int) -> None:
    from safetensors.torch import save_file

    state = {"step": torch.tensor(step)}
    for name, parameter in learner.trained().items():
        moments = optimizer.state[parameter]
        state |= {
            f"{name}:value": parameter.detach().contiguous(),
            f"{name}:mean": moments["exp_avg"],
            f"{name}:square": moments["exp_avg_sq"],
        }
    part = path.with_suffix(".part")
    save_file(state, part)
    part.rename(path)


def _resume(path: Path, learner: Learner, optimizer: torch.optim.Optimizer) -> int:
    from safetensors.torch import load_file

    state = load_file(path)
    step = int(state["step"])
    with torch.no_grad():
        for name, parameter in learner.trained().items():
            parameter.copy_(state[f"{name}:value"])
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": state[f"{name}:mean"],
                "exp_avg_sq": state[f"{name}:square"],
            }
    return step
