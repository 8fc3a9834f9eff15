"""What every training of a recipe does: rates by step, clipped steps of AdamW, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Report = Callable[[int, float], None]
"""Called with (step, loss) after each step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How long and how fast to train. `learning_rate` is the peak after warm-up, then cosine."""

    num_steps: int
    learning_rate: float
    pictures_per_step: int = 16
    questions_per_picture: int = 8
    warmup_steps: int = 150
    final_share: float = 0.02
    weight_decay: float = 0.02
    seed: int = 0

    def rate(self, step: int) -> float:
        """The learning rate at `step`."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self.learning_rate * (self.final_share + (1 - self.final_share) * cosine)


class Optimizer:
    """AdamW over named weights, at the rates of a schedule."""

    def __init__(self, weights: Mapping[str, Tensor], schedule: Schedule) -> None:
        self._weights = weights
        self._schedule = schedule
        self._adamw = torch.optim.AdamW(
            weights.values(),
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
            betas=(0.9, 0.98),
        )

    def step(self, step: int, loss: Tensor) -> None:
        """One step down the gradient of `loss`, whose norm is clipped to 1."""
        for group in self._adamw.param_groups:
            group["lr"] = self._schedule.rate(step)
        self._adamw.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights.values(), 1.0)
        self._adamw.step()

    def save(self, path: Path, num_steps: int) -> None:
        """Weights and moments after `num_steps` steps, put in place in one move."""
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = {"step": torch.tensor(num_steps)}
        for name, weight in self._weights.items():
            stored[f"weight.{name}"] = weight.detach().contiguous()
            for key in ("exp_avg", "exp_avg_sq"):
                stored[f"{key}.{name}"] = self._adamw.state[weight][key].contiguous()
        part = path.with_suffix(".part")
        save_file(stored, part)
        part.replace(path)

    def resume(self, path: Path) -> int:
        """Steps done by a checkpoint, whose state is taken over; 0 where there is none."""
        if not path.exists():
            return 0
        stored = load_file(path)
        num_steps = int(stored["step"])
        for name, weight in self._weights.items():
            weight.data.copy_(stored[f"weight.{name}"])
            self._adamw.state[weight] = {
                "step": torch.tensor(float(num_steps)),
                "exp_avg": stored[f"exp_avg.{name}"],
                "exp_avg_sq": stored[f"exp_avg_sq.{name}"],
            }
        return num_steps
