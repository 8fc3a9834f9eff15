"""The vision tower: a small SigLIP encoder with one token a square, trained once and frozen.

Its training sees the sets of every taught domain, each with labels of its own: it learns to tell a
set's twelve drawings apart and never hears that two artists' kings are both kings. Labels that are
aligned over artists leave a student nothing to learn from a teacher; a tower of the source's sets
alone does not see what tells others' drawings apart. A second head reads the square a token is of.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from driftline_lab.data.boards.domains import DOMAINS, TAUGHT, taught_sets
from driftline_lab.data.boards.drawings import PICTURE_SIZE, SQUARE
from driftline_lab.data.boards.sets import EMPTY, TYPES
from driftline_lab.data.boards.views import Use, View, view, view_of
from driftline_lab.recipes.tiny.tower import (
    TowerPlan,
    encode,
    fit_tower,
    normalize_pixels,
)
from driftline_lab.recipes.training import Report

_PER_SET = 2 * len(TYPES)
_PLACE_WEIGHT = 0.2


def tower_config() -> SiglipVisionConfig:
    """4 layers, width 128, patch 16: a 128 x 128 picture gives 8 x 8 tokens."""
    return SiglipVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=PICTURE_SIZE,
        patch_size=SQUARE,
        vision_use_head=False,
    )


class SquareHeads(nn.Module):
    """Reads from each token what stands on its square, by set, and which square it is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pieces = nn.Linear(width, 1 + _PER_SET * len(taught_sets()))
        self.squares = nn.Linear(width, 64)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 64, D) -> (B, 64, 1 + 12 sets) and (B, 64, 64) logits."""
        return self.pieces(tokens), self.squares(tokens)


def labels(shown: View) -> NDArray[np.int64]:
    """(64,) class numbers: 0 for an empty square, else of a piece of this very set."""
    first = _PER_SET * taught_sets().index(shown.piece_set)
    return np.where(shown.squares == EMPTY, 0, first + shown.squares)


def train_tower(plan: TowerPlan, report: Report) -> SiglipVisionModel:
    """A frozen tower; pictures are drawn as they are needed, each seen once."""
    torch.manual_seed(plan.seed)
    config = tower_config()
    tower = SiglipVisionModel(config)
    heads = SquareHeads(config.hidden_size)
    squares = torch.arange(64).repeat(plan.batch_size)
    # A set is as likely as any other: the source has several.
    domains = [name for name in TAUGHT for _ in DOMAINS[name].sets]

    def loss(rng: np.random.Generator) -> Tensor:
        names = [domains[int(i)] for i in rng.integers(len(domains), size=plan.batch_size)]
        numbers = rng.integers(500_000, 1_000_000, size=plan.batch_size)
        shown = [view(n, view_of(Use.TRAIN, int(i))) for n, i in zip(names, numbers, strict=True)]
        pixels = normalize_pixels(np.stack([each.picture for each in shown]))
        pieces, places = heads(encode(tower, pixels))
        wanted = torch.from_numpy(np.concatenate([labels(each) for each in shown]))
        # Two thirds of the squares are empty.
        weights = torch.ones(pieces.shape[-1])
        weights[0] = 0.3
        return F.cross_entropy(pieces.flatten(0, 1), wanted, weight=weights) + (
            _PLACE_WEIGHT * F.cross_entropy(places.flatten(0, 1), squares)
        )

    return fit_tower(tower, heads, plan, loss, report)
