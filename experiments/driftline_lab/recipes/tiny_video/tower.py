"""The tower: that of the pair `tiny`, trained on with frames of clips, then frozen.

Heads that are not shipped read from each patch which colour and shape it shows, and its pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, SiglipVisionModel

from driftline_lab.recipes.tiny.tower import (
    TowerPlan,
    encode,
    fit_tower,
    normalize_pixels,
    to_patches,
)
from driftline_lab.recipes.tiny_video.labels import NO_COLOUR, NO_SHAPE, PatchLabels
from driftline_lab.recipes.training import Report
from driftline_shared.pair.pair import find_pair

_BACKGROUND = 0.15
"""Weight of patches that show no shape; there are ten times as many."""


def tower_of_tiny() -> SiglipVisionModel:
    """The shipped tower of `tiny`."""
    folder = find_pair("tiny").parent / "student"
    llava = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    tower: SiglipVisionModel = llava.model.vision_tower
    return tower


def tune_tower(
    tower: SiglipVisionModel,
    frames: NDArray[np.uint8],
    labels: PatchLabels,
    plan: TowerPlan,
    report: Report,
) -> SiglipVisionModel:
    """Trains `tower` on. `frames` (N, 64, 64, 3); labels (N, 64)."""
    torch.manual_seed(plan.seed)
    config = tower.config
    heads = nn.Linear(
        config.hidden_size, NO_COLOUR + 1 + NO_SHAPE + 1 + 3 * int(config.patch_size) ** 2
    )
    rare_colour, rare_shape = torch.ones(NO_COLOUR + 1), torch.ones(NO_SHAPE + 1)
    rare_colour[-1] = rare_shape[-1] = _BACKGROUND

    def loss(rng: np.random.Generator) -> Tensor:
        chosen = np.sort(rng.integers(len(frames), size=plan.batch_size))
        pixels = normalize_pixels(frames[chosen])
        read = heads(encode(tower, pixels))
        colour, shape, patches = read.split(
            [NO_COLOUR + 1, NO_SHAPE + 1, read.shape[-1] - NO_COLOUR - NO_SHAPE - 2], dim=-1
        )
        return (
            F.cross_entropy(
                colour.flatten(0, 1), torch.from_numpy(labels.colour[chosen]).flatten(), rare_colour
            )
            + F.cross_entropy(
                shape.flatten(0, 1), torch.from_numpy(labels.shape[chosen]).flatten(), rare_shape
            )
            + plan.pixel_weight * F.mse_loss(patches, to_patches(pixels, config.patch_size))
        )

    return fit_tower(tower, heads, plan, loss, report)
