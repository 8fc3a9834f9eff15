"""Qwen3-VL: as Qwen2.5-VL without windows; tokens hold groups of inner layers, too (DeepStack)."""

from __future__ import annotations

from typing import Any

import torch

from driftline_shared.models.export.decoder import Adapted, Inputs, linear_of
from driftline_shared.models.export.families.family import (
    Tower,
    adapted_rows,
    give_projected,
    rows_of,
    two_layers,
)
from driftline_shared.models.export.families.qwen_vl import Sight, add_norm, picture_table
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.families.qwen3_vl import Qwen3VlModel, inner_layers
from driftline_shared.pair.image_table import ImageTable


class Qwen3VlGraphs:
    """See `FamilyGraphs`."""

    def image(self, model: Qwen3VlModel) -> ImageTable:
        """The canvas."""
        return picture_table(model)

    def tower(self, model: Qwen3VlModel) -> Tower:
        """Merge groups of the last states, then of the inner layers, side by side."""
        net, grid = model.net.model.visual, model.grid_of_patches
        sight = Sight.of(model, torch.zeros(int(grid.prod()), dtype=torch.long))
        learned = _positions(net, grid)

        def tokens(net: Any, pixels: torch.Tensor) -> torch.Tensor:
            tower, inner = net.model.visual, list(inner_layers(net))
            states = sight.patches(tower, pixels) + learned
            held = []
            for number, block in enumerate(tower.blocks):
                states = sight.block(block, states, windowed=False)
                if number in inner:
                    held.append(states)
            return torch.cat([sight.groups(tower, each) for each in (states, *held)], dim=-1)

        return tokens

    def tower_width(self, model: Any) -> int:
        """Of all patches of a group side by side, once for each merger."""
        net = model.net
        return int(net.model.visual.merger.hidden_size) * (1 + len(inner_layers(net)))

    def projector(self, model: Any, adapted: Adapted) -> tuple[Graph, Inputs]:
        """The merger, and beside what it gives the n others', which no mask and no LoRA changes."""
        net = model.net
        merger, others = net.model.visual.merger, list(inner_layers(net).values())
        graph, inputs = Graph("projector"), Inputs()
        before = linear_of("projector.linear_fc1", merger.linear_fc1)
        behind = linear_of("projector.linear_fc2", merger.linear_fc2)
        tokens = graph.input("tokens", ["B", "K", self.tower_width(model)])
        sizes = [before.inputs] * (1 + len(others))
        names = [f"part.{number}" for number in range(len(sizes))]
        own, *inner = graph.nodes("Split", [tokens, graph.ints(*sizes)], names, axis=-1)
        patches, shape = rows_of(graph, own, len(merger.norm.weight))
        normed = add_norm(graph, patches, merger.norm, "norm")
        x = graph.node("Reshape", [normed, graph.ints(-1, before.inputs)])
        x = two_layers(graph, inputs, x, shape, (before, behind), adapted)
        deep = [
            _inner_rows(graph, inputs, part, other, number)
            for number, (part, other) in enumerate(zip(inner, others, strict=True))
        ]
        x = _beside(graph, x, behind.outputs, deep) if deep else x
        give_projected(graph, x, shape, behind.outputs * len(sizes))
        return graph, inputs


def _inner_rows(graph: Graph, inputs: Inputs, part: str, merger: Any, number: int) -> str:
    """(B, K, width) -> (B * K, D) by an inner layer's merger, whose norm is of whole groups."""
    name = f"inner.{number}"
    before = linear_of(f"{name}.linear_fc1", merger.linear_fc1)
    behind = linear_of(f"{name}.linear_fc2", merger.linear_fc2)
    rows, _ = rows_of(graph, part, before.inputs)
    x = add_norm(graph, rows, merger.norm, f"{name}.norm")
    x = adapted_rows(graph, inputs, x, before, Adapted())
    x = graph.node("Gelu", [x], approximate="none")
    return adapted_rows(graph, inputs, x, behind, Adapted())


def _beside(graph: Graph, own: str, width: int, deep: list[str]) -> str:
    """(P * R, D) and n of (R, D) -> (P * R, (1 + n) * D): masks make P passes of one picture."""
    one = graph.ints(1)
    num_rows = graph.node("Shape", [deep[0]], start=0, end=1)
    by_pass = graph.node("Concat", [graph.ints(-1), num_rows, graph.ints(width)], axis=0)
    own = graph.node("Reshape", [own, by_pass])
    passes = graph.node("Concat", [graph.node("Shape", [own], start=0, end=1), one, one], axis=0)
    rest = graph.node("Unsqueeze", [graph.node("Concat", deep, axis=-1), graph.ints(0)])
    rest = graph.node("Expand", [rest, passes])
    both = graph.node("Concat", [own, rest], axis=-1)
    return graph.node("Reshape", [both, graph.ints(-1, width * (1 + len(deep)))])


def _positions(tower: Any, grid: torch.Tensor) -> torch.Tensor:
    """(N, D) the learned positions of this grid's patches, merge group by merge group."""
    from transformers.vision_utils import get_vision_interpolation_indices_and_weights

    taps, weights = get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=tower.num_grid_per_side,
        mode=tower.interpolation_mode,
        align_corners=tower.interpolation_align_corners,
        spatial_merge_size=tower.spatial_merge_size,
    )
    with torch.no_grad():
        found: torch.Tensor = (tower.pos_embed(taps) * weights[:, :, None]).sum(1).float()
    return found
