"""Idefics3 and SmolVLM: square views, patches shuffled into tokens, one linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from driftline_shared.models.export.decoder import Adapted, Inputs, linear_of
from driftline_shared.models.export.families.family import (
    Tower,
    adapted_rows,
    dropped_rows,
    give_projected,
    rows_of,
)
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.export.preparation import canvas_step, image_table, value_steps
from driftline_shared.models.families.idefics3 import Idefics3Model
from driftline_shared.pair.image_table import (
    ImageTable,
    Resize,
    Split,
    Step,
)


class Idefics3Graphs:
    """See `FamilyGraphs`."""

    def image(self, model: Idefics3Model) -> ImageTable:
        """The canvas in the sizes that the processor brings it to, then its tiles and the whole."""
        return image_table(_steps(model), lambda image: model.views([image])[0])

    def tower(self, model: Idefics3Model) -> Tower:
        """Patches shuffled into tokens, views one behind the other."""
        return _tokens

    def tower_width(self, model: Any) -> int:
        """Of all patches of a token side by side."""
        return int(model.net.model.connector.modality_projection.proj.in_features)

    def projector(self, model: Any, adapted: Adapted) -> tuple[Graph, Inputs]:
        """A mask, and the one layer."""
        graph, inputs = Graph("projector"), Inputs()
        layer = linear_of("projector.proj", model.net.model.connector.modality_projection.proj)
        x, shape = rows_of(graph, graph.input("tokens", ["B", "K", layer.inputs]), layer.inputs)
        x = dropped_rows(graph, inputs, x, shape, layer)
        x = adapted_rows(graph, inputs, x, layer, adapted)
        give_projected(graph, x, shape, layer.outputs)
        return graph, inputs


def _tokens(net: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(B, F, 3, S, S) -> (B, F * t, s * s * D)."""
    tower, connector = net.model.vision_model, net.model.connector
    states = tower(pixels.flatten(0, 1)).last_hidden_state
    tokens: torch.Tensor = connector.pixel_shuffle(states, connector.scale_factor)
    return tokens.unflatten(0, (-1, pixels.shape[1])).flatten(1, 2)


def _steps(model: Idefics3Model) -> list[Step]:
    """What the processor does to a picture of the canvas's size, whose shape never changes."""
    from transformers.models.idefics3 import image_processing_pil_idefics3 as library

    processor, canvas = model.processor, model.canvas
    filter_, side = int(processor.resample), int(processor.max_image_size["longest_edge"])
    height, width = canvas.height, canvas.width
    steps: list[Step] = [canvas_step(canvas)]
    if processor.do_resize:
        size = processor.size
        if size.longest_edge:
            # By the library's own arithmetic: it rounds to even numbers on one side only.
            height, width = library.get_resize_output_image_size(
                np.empty((3, height, width), np.uint8), resolution_max_side=int(size.longest_edge)
            )
        else:
            height, width = int(size.height), int(size.width)
        steps.append(Resize(step="resize", height=height, width=width, resample=filter_))
    # A picture that is not split is one tile.
    height, width = (max(tiles, 1) * side for tiles in model.tiles)
    steps.append(Resize(step="resize", height=height, width=width, resample=filter_))
    steps.append(Split(step="split", side=side, resample=filter_))
    return [*steps, *value_steps(processor)]
