"""The vision tower: a small SigLIP encoder trained on source pictures only, then frozen.

Three heads teach it, and none is shipped: the figure's shape, its colour, and the pixels of each
patch. The last keeps what a picture looks like readable in the tokens even where the picture is
unlike anything the other two heads have seen, which is what a broadly trained encoder offers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from driftline_lab.recipes.training import Report

NUM_SHAPES = 3
NUM_COLOURS = 8
UNKNOWN = -100


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerPlan:
    """How the tower is trained. `learning_rate` is the peak of a one-cycle schedule."""

    num_steps: int = 1_200
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    pixel_weight: float = 4.0
    seed: int = 0


def tower_config() -> SiglipVisionConfig:
    """4 layers, width 128, patch 8: a 64 x 64 picture gives 8 x 8 tokens."""
    return SiglipVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
        vision_use_head=False,
    )


class TowerHeads(nn.Module):
    """Reads shape and colour from attention-pooled tokens, and pixels from each token."""

    def __init__(self, width: int, patch_values: int) -> None:
        super().__init__()
        self.attend = nn.Linear(width, 2)
        self.shape = nn.Linear(width, NUM_SHAPES)
        self.colour = nn.Linear(width, NUM_COLOURS)
        self.pixels = nn.Linear(width, patch_values)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, V, D) tokens -> (B, 3) and (B, 8) logits, (B, V, 3 * patch^2) pixels."""
        share = self.attend(tokens).softmax(dim=1)
        pooled = torch.einsum("bvh,bvd->bhd", share, tokens)
        return self.shape(pooled[:, 0]), self.colour(pooled[:, 1]), self.pixels(tokens)


def normalize_pixels(pictures: NDArray[np.uint8]) -> Tensor:
    """(B, 64, 64, 3) uint8 -> (B, 3, 64, 64) float32 in [-1, 1], like the preprocessor."""
    values = torch.from_numpy(pictures.astype(np.float32))
    return values.permute(0, 3, 1, 2) / 127.5 - 1.0


def encode(tower: SiglipVisionModel, pixels: Tensor) -> Tensor:
    """(B, 3, 64, 64) -> (B, V, D): what LLaVA reads, the last layer's output before any norm."""
    hidden: Tensor = tower(pixels, output_hidden_states=True).hidden_states[-1]
    return hidden


def train_tower(
    pictures: NDArray[np.uint8],
    shapes: NDArray[np.int64],
    colours: NDArray[np.int64],
    plan: TowerPlan,
    report: Report,
) -> SiglipVisionModel:
    """A frozen tower. `pictures`: (N, 64, 64, 3); labels: (N,), `UNKNOWN` where there is none."""
    torch.manual_seed(plan.seed)
    config = tower_config()
    tower = SiglipVisionModel(config)
    heads = TowerHeads(config.hidden_size, 3 * config.patch_size**2)

    def loss(rng: np.random.Generator) -> Tensor:
        chosen = rng.integers(len(pictures), size=plan.batch_size)
        pixels = augment(normalize_pixels(pictures[chosen]), rng)
        shape, colour, patches = heads(encode(tower, pixels))
        return (
            F.cross_entropy(shape, torch.from_numpy(shapes[chosen]), ignore_index=UNKNOWN)
            + F.cross_entropy(colour, torch.from_numpy(colours[chosen]), ignore_index=UNKNOWN)
            + plan.pixel_weight * F.mse_loss(patches, to_patches(pixels, config.patch_size))
        )

    return fit_tower(tower, heads, plan, loss, report)


def fit_tower(
    tower: SiglipVisionModel,
    heads: nn.Module,
    plan: TowerPlan,
    loss_of_batch: Callable[[np.random.Generator], Tensor],
    report: Report,
) -> SiglipVisionModel:
    """Trains tower and heads in place; `loss_of_batch` draws a batch. The tower is frozen then."""
    rng = np.random.default_rng(plan.seed)
    weights = [*tower.requires_grad_(True).parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=plan.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.learning_rate, total_steps=plan.num_steps, pct_start=0.1
    )
    tower.train()
    for step in range(plan.num_steps):
        loss = loss_of_batch(rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        report(step, float(loss.detach()))
    return tower.eval().requires_grad_(False)


def load_tower(folder: Path) -> SiglipVisionModel:
    """A frozen tower, read back so that a resumed build goes on from the bits of a straight one,
    and rounded as it is shipped: every cached token is what the shipped tower gives.
    """
    tower: SiglipVisionModel = SiglipVisionModel.from_pretrained(folder)
    return tower.half().float().eval().requires_grad_(False)


def to_patches(pixels: Tensor, patch: int) -> Tensor:
    """(B, 3, H, W) -> (B, V, 3 * patch^2), tokens in row-major order."""
    return F.unfold(pixels, kernel_size=patch, stride=patch).transpose(1, 2)


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Generic augmentation: shift, mirror, contrast, brightness, blur, fine and coarse noise."""
    batch, _, height, width = pixels.shape
    reach = 8
    padded = F.pad(pixels, (reach,) * 4, mode="replicate")
    moved = torch.empty_like(pixels)
    for i, (row, col) in enumerate(rng.integers(0, 2 * reach + 1, (batch, 2))):
        moved[i] = padded[i, :, row : row + height, col : col + width]
    mirrored = torch.from_numpy(rng.random(batch) < 0.5)
    moved[mirrored] = moved[mirrored].flip(-1)

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        values = rng.uniform(low, high, (batch, channels, 1, 1)).astype(np.float32)
        return torch.from_numpy(values)

    soft = F.avg_pool2d(F.pad(moved, (1,) * 4, mode="replicate"), 3, stride=1)
    softness = draw(-1.0, 1.0).clamp(min=0.0)
    moved = moved * (1 - softness) + soft * softness
    changed = moved * draw(0.45, 1.05) * draw(0.9, 1.1, 3) + draw(-0.4, 0.25)
    for cells, most in ((4, 0.25), (16, 0.25), (height, 0.10)):
        grid = rng.standard_normal((batch, 3, cells, cells), dtype=np.float32)
        noise = F.interpolate(torch.from_numpy(grid), size=(height, width), mode="bilinear")
        changed = changed + noise * draw(-most, most).clamp(min=0.0)
    return changed.clamp(-1.0, 1.0)
