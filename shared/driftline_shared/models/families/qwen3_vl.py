"""Qwen3-VL: like Qwen2.5-VL, with features of inner tower layers as well (DeepStack).

DeepStack (arXiv 2406.04334) gives the first n layers of the language model features of n inner
tower layers, each through a merger of its own, added where the image lies. They cannot be computed
from the last tower states, so a token carries them: one group of the last layer and then n groups
of the inner ones, 1 + n times as wide. An uplinked sample is as much larger.

The query adapter attaches to the main merger only; the n other mergers stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from driftline_shared.models.families.qwen_vl import QwenVlModel


class Qwen3VlModel(QwenVlModel):
    """A token = 1 + n merge groups; projected, its first D numbers are what is read in its place,
    the others what is added to the hidden states there after each of the first n layers.
    """

    def project(self, tokens: Tensor) -> Tensor:
        """(B, K, D_v) -> (B, K, (1 + n) * D), query adapter included."""
        mergers = [self.net.model.visual.merger, *inner_layers(self.net).values()]
        parts = tokens.chunk(len(mergers), dim=-1)
        merged = [self.merged(m, part) for m, part in zip(mergers, parts, strict=True)]
        return torch.cat(merged, dim=-1)

    def visual_inputs(
        self, projected: Tensor, visual: Tensor, shape: torch.Size
    ) -> tuple[Tensor, dict[str, Any]]:
        """Embeddings (B, K, D); `deepstack_visual_embeds`: n of (B * K, D) in reading order."""
        tokens, *deep = projected.split(shape[-1], dim=-1)
        marks = torch.zeros(shape[:2], dtype=torch.bool, device=projected.device)
        marks.scatter_(1, visual, True)
        # The library reads them by the mask, from left to right, in whatever order tokens came.
        order = visual.argsort(dim=1)[:, :, None].expand(-1, -1, shape[-1])
        ordered = [states.gather(1, order).flatten(0, 1) for states in deep]
        return tokens, {"visual_pos_masks": marks, "deepstack_visual_embeds": ordered}

    def _groups(self, tower: Any, pixels: Tensor, patches: Tensor) -> Tensor:
        # Of hidden states the first is what enters the first layer.
        after = [index + 1 for index in inner_layers(self.net)]
        given = tower(pixels, grid_thw=patches, output_hidden_states=after, return_dict=True)
        states = [given.last_hidden_state, *(given.hidden_states[index] for index in after)]
        unit = tower.spatial_merge_unit
        return torch.cat([state.reshape(len(state) // unit, -1) for state in states], dim=-1)


def inner_layers(net: Any) -> dict[int, Any]:
    """Inner tower layers whose features are read, in their order, with their mergers."""
    visual = net.model.visual
    layers = zip(visual.deepstack_visual_indexes, visual.deepstack_merger_list, strict=True)
    return dict(sorted(layers, key=lambda layer: layer[0]))
