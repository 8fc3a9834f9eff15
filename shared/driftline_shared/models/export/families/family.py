"""What an export asks of a family, and parts of projectors that several have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from driftline_shared.models.export import decoder
from driftline_shared.models.export.decoder import Adapted, Inputs, add_mask
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.export.linear import Linear
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.pair.export_file import (
    DropoutInput,
)
from driftline_shared.pair.image_table import (
    ImageTable,
)

Tower = Callable[[Any, torch.Tensor], torch.Tensor]
"""A net, and pixels (B, 3, H, W), of several views or frames (B, F, 3, H, W) -> (B, V, D_v)."""


class FamilyGraphs(Protocol):
    """A family's own part of an export."""

    def image(self, model: Any) -> ImageTable:
        """How a picture becomes pixels. Raises PairError where a table cannot say it."""

    def tower(self, model: Any) -> Tower:
        """How its net makes tokens of pixels; it can be traced."""

    def tower_width(self, model: Any) -> int:
        """D_v."""

    def projector(self, model: Any, adapted: Adapted) -> tuple[Graph, Inputs]:
        """The graph `projector`. Raises PairError for what graphs do not do."""


def rows_of(graph: Graph, tokens: str, width: int) -> tuple[str, str]:
    """(B, K, width) -> (B * K, width), and the shape (B, K, -1) that leads back."""
    rows = graph.node("Shape", [tokens], start=0, end=2)
    shape = graph.node("Concat", [rows, graph.ints(-1)], axis=0)
    return graph.node("Reshape", [tokens, graph.ints(-1, width)]), shape


def dropped_rows(
    graph: Graph, inputs: Inputs, x: str, shape: str, layer: Linear, *, rows: int = 1
) -> str:
    """`rows` rows of each token, (B * K * rows, inputs), that `layer` reads, times a mask of
    `shape` (B, K, rows * inputs).
    """
    mask = f"{layer.name}.mask"
    inputs.dropout.append(
        DropoutInput(part="projector", input=mask, place=layer.name, width=rows * layer.inputs)
    )
    x = graph.node("Mul", [graph.node("Reshape", [x, shape]), add_mask(graph, mask)])
    return graph.node("Reshape", [x, graph.ints(-1, layer.inputs)])


def two_layers(
    graph: Graph,
    inputs: Inputs,
    x: str,
    shape: str,
    layers: tuple[Linear, Linear],
    adapted: Adapted,
    *,
    approximate: str = "none",
    rows: int = 1,
) -> str:
    """Rows through a layer, GELU, a mask of `shape` and another layer; LoRA where they have it.
    `rows`: of each token.
    """
    first, second = layers
    x = adapted_rows(graph, inputs, x, first, adapted)
    x = graph.node("Gelu", [x], approximate=approximate)
    x = dropped_rows(graph, inputs, x, shape, second, rows=rows)
    return adapted_rows(graph, inputs, x, second, adapted)


def give_projected(graph: Graph, rows: str, shape: str, width: int) -> None:
    """The graph's output: rows (B * K, width) as (B, K, width)."""
    graph.node("Reshape", [rows, shape], name="projected")
    graph.output("projected", ["B", "K", width])


def adapted_rows(graph: Graph, inputs: Inputs, x: str, layer: Linear, adapted: Adapted) -> str:
    """The layer in float32, with its LoRA where it has one."""
    table = decoder.lora_input("projector", layer, {layer.name: layer}, adapted)
    return decoder.add_adapted(graph, inputs, x, layer, "fp32", table)


def num_deep(model: FamilyModel, own: FamilyGraphs) -> int:
    """Layers that projected tokens have features for, beside what is read in their place."""
    with torch.no_grad():
        projected = model.project(torch.zeros(1, 1, own.tower_width(model)))
    width = int(model.net.get_input_embeddings().weight.shape[1])
    return projected.shape[-1] // width - 1
