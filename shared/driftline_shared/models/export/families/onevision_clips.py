"""LLaVA-OneVision's clips: of each frame four patches a cell, pooled behind the projector."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from onnx_ir import DataType

from driftline_shared.models.export.decoder import Adapted, Inputs, linear_of
from driftline_shared.models.export.families.family import (
    Tower,
    give_projected,
    rows_of,
    two_layers,
)
from driftline_shared.models.export.families.llava import gelu_of
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.export.preparation import image_table, one_view_steps
from driftline_shared.models.families.llava import tower_states
from driftline_shared.models.families.llava_onevision import PLACE, TAPS, LlavaOnevisionModel
from driftline_shared.pair.image_table import ImageTable


class OnevisionClipGraphs:
    """See `FamilyGraphs`. A token is its cell's four patches and the cell's centre."""

    def image(self, model: LlavaOnevisionModel) -> ImageTable:
        """Each frame on the canvas, then as the checkpoint prepares frames."""
        return image_table(
            one_view_steps(model.processor, model.canvas),
            lambda clip: model.views([clip]),
            frames=model.canvas.frames,
        )

    def tower(self, model: LlavaOnevisionModel) -> Tower:
        """The patches of each cell side by side, frame by frame, and the centre."""
        taps, centres = model.taps.clone(), model.centres.clone()

        def tokens(net: Any, pixels: torch.Tensor) -> torch.Tensor:
            states = tower_states(net, pixels.flatten(0, 1))
            cells = states[:, taps].flatten(2)  # (B * F, T * T, 4 D_v)
            placed = torch.cat([cells, centres.expand(cells.shape[0], -1, -1)], dim=-1)
            return placed.unflatten(0, (-1, pixels.shape[1])).flatten(1, 2)

        return tokens

    def tower_width(self, model: LlavaOnevisionModel) -> int:
        """Of four patches and the centre."""
        return TAPS * _patch_width(model) + PLACE

    def projector(self, model: LlavaOnevisionModel, adapted: Adapted) -> tuple[Graph, Inputs]:
        """linear_1, activation, mask, linear_2 of each patch; then the mean that pools a cell."""
        net, width = model.net, _patch_width(model)
        graph, inputs = Graph("projector"), Inputs()
        layers = net.model.multi_modal_projector
        first = linear_of("projector.linear_1", layers.linear_1)
        second = linear_of("projector.linear_2", layers.linear_2)
        tokens = graph.input("tokens", ["B", "K", self.tower_width(model)])
        sizes = graph.ints(TAPS * width, PLACE)
        patches, centres = graph.nodes("Split", [tokens, sizes], ["patches", "centres"], axis=-1)
        x, shape = rows_of(graph, patches, width)
        gelu = gelu_of(net.config.projector_hidden_act)
        x = two_layers(
            graph, inputs, x, shape, (first, second), adapted, approximate=gelu, rows=TAPS
        )
        weights = _pooling_weights(graph, centres, model)
        # Masks make P passes of one clip: its weights are those of each.
        num_tokens = graph.node("Shape", [tokens], start=1, end=2)
        by_token = [graph.ints(-1), num_tokens, graph.ints(TAPS, second.outputs)]
        x = graph.node("Reshape", [x, graph.node("Concat", by_token, axis=0)])
        x = graph.node("Mul", [x, graph.node("Unsqueeze", [weights, graph.ints(-1)])])
        x = graph.node("ReduceSum", [x, graph.ints(2)], keepdims=0)
        give_projected(graph, x, shape, second.outputs)
        return graph, inputs


def _patch_width(model: LlavaOnevisionModel) -> int:
    """D_v of one patch."""
    return int(model.net.model.multi_modal_projector.linear_1.in_features)


def _pooling_weights(graph: Graph, centres: str, model: LlavaOnevisionModel) -> str:
    """(B, K, 4) of the cells nearest to `centres` (B, K, 2)."""
    cells = model.grid.rows
    side = graph.constant(np.asarray(cells, dtype=np.float32))
    scaled = graph.node("Floor", [graph.node("Mul", [centres, side])])
    least, most = (graph.constant(np.asarray(at, dtype=np.float32)) for at in (0, cells - 1))
    places = graph.node("Cast", [graph.node("Clip", [scaled, least, most])], to=DataType.INT64)
    flat = graph.node("Mul", [places, graph.ints(cells, 1)])
    index = graph.node("ReduceSum", [flat, graph.ints(-1)], keepdims=0)
    table = graph.constant(model.pooling_weights.numpy().astype(np.float32))
    return graph.node("Gather", [table, index], axis=0)
