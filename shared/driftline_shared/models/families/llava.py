"""LLaVA: vision tower -> two-layer projector -> LLaMA-style language model.

Serves `LlavaForConditionalGeneration` of transformers with any tower and language model it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.models.families.base import FamilyModel, ImageLayout, on_canvas
from driftline_shared.models.pair import Canvas
from driftline_shared.tokens import Grid


class LlavaModel(FamilyModel):
    """LLaVA 1.5 and its kin: one square view, one position a patch."""

    def _prepare(self, model_dir: Path, canvas: Canvas | None) -> None:
        from transformers import AutoImageProcessor

        self.processor: Any = AutoImageProcessor.from_pretrained(
            model_dir, local_files_only=True, backend="pil"
        )
        vision = self.net.config.vision_config
        side = vision.image_size // vision.patch_size
        self.grid = Grid(rows=side, cols=side)
        self._canvas = canvas

    def layout(self) -> ImageLayout:
        """Patches row by row."""
        return ImageLayout.plain(self.num_tokens)

    @torch.no_grad()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B, V, D_v) float32 tower tokens, as `vision_feature_layer` and strategy choose them."""
        pictures = [picture for image in images for picture in on_canvas(image, self._canvas)]
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        return tower_states(self.net, pixels).float()

    def project(self, tokens: Tensor) -> Tensor:
        """(B, K, D_v) -> (B, K, D), query adapter included."""
        projector = self.net.model.multi_modal_projector
        return projector(tokens.to(self.device, next(projector.parameters()).dtype))


def tower_states(net: Any, pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, V, D_v): hidden states of the layers the config names, side by side."""
    tower, config = net.model.vision_tower, net.config
    states = tower(
        pixels.to(tower.device, tower.dtype), output_hidden_states=True, return_dict=True
    ).hidden_states
    layers = config.vision_feature_layer
    chosen = [states[i] for i in ([layers] if isinstance(layers, int) else layers)]
    if config.vision_feature_select_strategy == "default":
        chosen = [state[:, 1:] for state in chosen]
    return torch.cat(chosen, dim=-1)
