"""Qwen2.5-VL: a tower whose layers see windows or the whole picture; a merger of patch groups."""

from __future__ import annotations

from typing import Any

import torch

from driftline_shared.models.export.decoder import Adapted, Inputs, linear_of
from driftline_shared.models.export.families.family import (
    Tower,
    give_projected,
    rows_of,
    two_layers,
)
from driftline_shared.models.export.families.qwen_vl import Sight, add_norm, picture_table
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.families.qwen2_5_vl import Qwen25VlModel
from driftline_shared.pair.image_table import ImageTable


class Qwen25VlGraphs:
    """See `FamilyGraphs`."""

    def image(self, model: Qwen25VlModel) -> ImageTable:
        """The canvas."""
        return picture_table(model)

    def tower(self, model: Qwen25VlModel) -> Tower:
        """Merge groups of the last states."""
        sight = Sight.of(model, _windows(model))

        def tokens(net: Any, pixels: torch.Tensor) -> torch.Tensor:
            tower = net.model.visual
            states = sight.patches(tower, pixels)
            for number, block in enumerate(tower.blocks):
                windowed = number not in tower.fullatt_block_indexes
                states = sight.block(block, states, windowed=windowed)
            return sight.groups(tower, states)

        return tokens

    def tower_width(self, model: Any) -> int:
        """Of all patches of a group side by side."""
        return int(model.net.model.visual.merger.hidden_size)

    def projector(self, model: Any, adapted: Adapted) -> tuple[Graph, Inputs]:
        """A norm of each patch; then of each group mlp.0, GELU, a mask, mlp.2."""
        merger = model.net.model.visual.merger
        first, _, second = merger.mlp
        graph, inputs = Graph("projector"), Inputs()
        before, behind = linear_of("projector.mlp.0", first), linear_of("projector.mlp.2", second)
        tokens = graph.input("tokens", ["B", "K", before.inputs])
        patches, shape = rows_of(graph, tokens, len(merger.ln_q.weight))
        normed = add_norm(graph, patches, merger.ln_q, "ln_q")
        x = graph.node("Reshape", [normed, graph.ints(-1, before.inputs)])
        x = two_layers(graph, inputs, x, shape, (before, behind), adapted)
        give_projected(graph, x, shape, behind.outputs)
        return graph, inputs


def _windows(model: Qwen25VlModel) -> torch.Tensor:
    """(N,) the window of each patch, merge group by merge group."""
    from transformers.vision_utils import get_vision_window_index

    tower = model.net.model.visual
    order, ends = get_vision_window_index(
        model.grid_of_patches, tower.spatial_merge_size, tower.window_size, tower.patch_size
    )
    unit = tower.spatial_merge_unit
    windows = torch.empty_like(order)
    windows[order] = torch.repeat_interleave(ends.diff().long() // unit)
    return windows.repeat_interleave(unit)
