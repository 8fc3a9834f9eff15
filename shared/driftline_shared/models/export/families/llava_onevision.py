"""LLaVA-OneVision's pictures: the whole and tiles of it, of which padding is taken out again.
Clips: `onevision_clips`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from driftline_shared.models.export.families.family import Tower
from driftline_shared.models.export.families.llava import LlavaProjector
from driftline_shared.models.export.preparation import canvas_step, image_table, value_steps
from driftline_shared.models.families.llava import tower_states
from driftline_shared.models.families.llava_onevision import LlavaOnevisionModel
from driftline_shared.pair.image_table import ImageTable, Step, Tiles


class OnevisionGraphs(LlavaProjector):
    """See `FamilyGraphs`; the projector is LLaVA's."""

    def image(self, model: LlavaOnevisionModel) -> ImageTable:
        """The canvas as a whole and as tiles."""
        return image_table(_steps(model), lambda image: model.views([image]))

    def tower(self, model: LlavaOnevisionModel) -> Tower:
        """Patches of all views in the order in which the language model reads them."""
        order = model.order.clone()

        def tokens(net: Any, pixels: torch.Tensor) -> torch.Tensor:
            states = tower_states(net, pixels.flatten(0, 1))
            whole = states.unflatten(0, (-1, pixels.shape[1])).flatten(1, 2)
            return whole[:, order]

        return tokens


def _steps(model: LlavaOnevisionModel) -> list[Step]:
    """What the processor does to a picture of the canvas's size, by the library's arithmetic."""
    from transformers.image_processing_utils import select_best_resolution
    from transformers.models.llava_onevision import image_processing_pil_llava_onevision as library

    processor, canvas = model.processor, model.canvas
    side, filter_ = int(model.net.config.vision_config.image_size), int(processor.resample)
    shape = (canvas.height, canvas.width)
    tall, wide = select_best_resolution(shape, processor.image_grid_pinpoints)
    height, width = library.get_patch_output_size(
        np.empty((3, *shape), np.uint8),
        (tall, wide),
        input_data_format=library.ChannelDimension.FIRST,
    )
    return [
        canvas_step(canvas),
        Tiles(
            step="tiles",
            height=int(height),
            width=int(width),
            rows=tall // side,
            cols=wide // side,
            side=side,
            resample=filter_,
        ),
        *value_steps(processor),
    ]
