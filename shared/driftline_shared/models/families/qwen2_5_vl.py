"""Qwen2.5-VL: a tower with windows, a merger of patch groups, a language model with M-RoPE.

Serves `Qwen2_5_VLForConditionalGeneration` of transformers, images only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from driftline_shared.models.families.qwen_vl import QwenVlModel


class Qwen25VlModel(QwenVlModel):
    """A token = one merge group of the last tower states; its norm belongs to the merger."""

    def project(self, tokens: Tensor) -> Tensor:
        """(B, K, D_v) -> (B, K, D), query adapter included."""
        return self.merged(self.net.model.visual.merger, tokens)

    def _groups(self, tower: Any, pixels: Tensor, patches: Tensor) -> Tensor:
        from transformers.vision_utils import get_vision_window_index

        states = tower(pixels, grid_thw=patches, return_dict=True).last_hidden_state
        # The tower works window by window and puts groups back in order only after its merger.
        order, _ = get_vision_window_index(
            patches, tower.spatial_merge_size, tower.window_size, tower.patch_size
        )
        return states.reshape(len(order), -1)[torch.argsort(order).to(states.device)]
