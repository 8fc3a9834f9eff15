"""What the Qwen-VL families share: a tower for one size of pictures, and its merger as a graph.

The library packs pictures of any size into one row of patches. A pair has one canvas, so here
pictures are rows of a batch, and what depends on the size is constant: which patches lie in one
window, where each one lies, and how that turns queries and keys.

Windows are made equally large: a patch that is not there stands in for those that lack at the
edges, and nobody attends to it. Then attention inside windows is attention in a larger batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from driftline_shared.models.export.decoder import as_array
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.export.preparation import canvas_step, image_table, value_steps
from driftline_shared.models.families.qwen_vl import QwenVlModel
from driftline_shared.pair.image_table import ImageTable

_MASKED = -1e9
"""Bias of a patch that is not there."""


def picture_table(model: QwenVlModel) -> ImageTable:
    """The canvas, which the processor leaves in its size; patches are cut by the tower's graph."""
    return image_table(
        [canvas_step(model.canvas), *value_steps(model.processor)],
        lambda image: _whole(model, image),
    )


def _whole(model: QwenVlModel, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(3, H, W) the picture of which the processor made its patches."""
    vision = model.net.config.vision_config
    side, merge = int(vision.patch_size), int(vision.spatial_merge_size)
    flat, grid = model.patches([image])
    _, rows, cols = grid[0].tolist()
    apart = flat.reshape(rows // merge, cols // merge, merge, merge, 3, -1, side, side)
    # A still picture is the same at each time.
    lines = apart[:, :, :, :, :, 0].permute(4, 0, 2, 5, 1, 3, 6)
    whole: NDArray[np.float32] = lines.reshape(3, rows * side, cols * side).numpy()
    return whole


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Patches of one canvas as the tower's graph reads them: S windows of P places.

    `order` (S * P,): the patch at each place, counted row by row; `padding` (S, P): 0, or a bias
    where there is none; `back` (N,): the place of each patch, merge group by merge group, as tokens
    hold them; `cos`, `sin` (S * P, d). `is_padded`: whether `padding` says anything.
    """

    order: Tensor
    padding: Tensor
    is_padded: bool
    back: Tensor
    cos: Tensor
    sin: Tensor

    @staticmethod
    def of(model: QwenVlModel, windows: Tensor) -> Sight:
        """`windows` (N,): the window of each patch, merge group by merge group."""
        from transformers.vision_utils import get_vision_position_ids

        tower = model.net.model.visual
        grid = model.grid_of_patches
        lies = get_vision_position_ids(grid, tower.spatial_merge_size)
        sizes = torch.bincount(windows)
        num, size = len(sizes), int(sizes.max())
        held = torch.zeros(num, size, dtype=torch.long)
        padding = torch.full((num, size), _MASKED)
        back = torch.empty(len(windows), dtype=torch.long)
        for window in range(num):
            inside = (windows == window).nonzero()[:, 0]
            held[window, : len(inside)] = inside
            padding[window, : len(inside)] = 0.0
            back[inside] = window * size + torch.arange(len(inside))
        held = held.flatten()
        with torch.no_grad():
            cos, sin = tower.rotary_pos_emb(torch.zeros(1), lies)
        return Sight(
            order=(lies[:, 0] * int(grid[0, 2]) + lies[:, 1])[held],
            padding=padding,
            is_padded=bool(padding.any()),
            back=back,
            cos=cos[held].float(),
            sin=sin[held].float(),
        )

    def patches(self, tower: Any, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, S * P, D)."""
        proj = tower.patch_embed.proj
        # A still picture is the same at each time.
        lines = functional.conv2d(
            pixels, proj.weight.sum(dim=2), proj.bias, stride=tower.patch_embed.patch_size
        )
        return lines.flatten(2).transpose(1, 2)[:, self.order]

    def block(self, block: Any, states: Tensor, *, windowed: bool) -> Tensor:
        """One layer of the tower; `windowed`: inside windows only."""
        states = states + self._attention(block.attn, block.norm1(states), windowed=windowed)
        out: Tensor = states + block.mlp(block.norm2(states))
        return out

    def groups(self, tower: Any, states: Tensor) -> Tensor:
        """(B, S * P, D) -> (B, V, s * s * D), without places where there is no patch."""
        unit = tower.spatial_merge_unit
        return states[:, self.back].unflatten(1, (-1, unit)).flatten(2)

    def _attention(self, attn: Any, states: Tensor, *, windowed: bool) -> Tensor:
        heads = attn.num_heads
        q, k, v = attn.qkv(states).unflatten(2, (3, heads, -1)).unbind(2)
        q, k = (self._turned(x) for x in (q, k))
        padding = self.padding if windowed else self.padding.reshape(1, -1)
        num, size = padding.shape
        # (B, S * P, H, d) -> (B * S, H, P, d).
        q, k, v = (x.unflatten(1, (num, size)).flatten(0, 1).transpose(1, 2) for x in (q, k, v))
        scores = q @ k.transpose(2, 3) * attn.scaling
        if self.is_padded:
            by_row = scores.unflatten(0, (-1, num)) + padding[:, None, None]
            scores = by_row.flatten(0, 1)
        seen = scores.softmax(dim=-1) @ v
        seen = seen.transpose(1, 2).flatten(2).unflatten(0, (-1, num)).flatten(1, 2)
        out: Tensor = attn.proj(seen)
        return out

    def _turned(self, x: Tensor) -> Tensor:
        """Rotary embedding of (B, S * P, H, d)."""
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        return x * self.cos[:, None] + turned * self.sin[:, None]


def add_norm(graph: Graph, rows: str, norm: Any, name: str) -> str:
    """A norm, of torch or of the library, over rows (N, width)."""
    weight = graph.constant(as_array(norm.weight), f"{name}.weight")
    if getattr(norm, "bias", None) is None:
        epsilon = float(norm.variance_epsilon)
        return graph.node("SimplifiedLayerNormalization", [rows, weight], axis=-1, epsilon=epsilon)
    bias = graph.constant(as_array(norm.bias), f"{name}.bias")
    return graph.node("LayerNormalization", [rows, weight, bias], axis=-1, epsilon=float(norm.eps))
