"""Idefics3 and SmolVLM: SigLIP tower over tiles -> pixel shuffle -> one linear layer -> LLaMA.

Serves model types `idefics3` (SmolVLM 1 among them) and `smolvlm` (SmolVLM2). The checkpoint's own
image processor says whether an image is split: then the grid's frames are its views, the tiles row
by row and the whole picture last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.errors import PairError
from driftline_shared.models.families.base import FamilyModel, ImageLayout
from driftline_shared.models.families.pictures import image_processor, on_canvas
from driftline_shared.pair.pair import Canvas
from driftline_shared.tokens import Grid

_VIEWS_AT_ONCE = 32
"""Bounds the tower's memory: a split image of SmolVLM is 17 views of 512 x 512."""


class Idefics3Model(FamilyModel):
    """Square views; a token is a group of s x s patches, side by side in one vector of s*s*D.

    Without a canvas images are brought to the square that the processor itself would resize a
    square image to: the longest edge it knows where it splits, one tile where it does not. A split
    square has the most views; a canvas of another shape has fewer.
    """

    def _prepare(self, model_dir: Path, canvas: Canvas | None) -> None:
        self.processor = image_processor(model_dir)
        if canvas is not None and canvas.frames != 1:
            raise PairError(
                f"{model_dir}: this family reads single images here, not clips of {canvas.frames} "
                "frames; write frames = 1 in the pair's [token_space] image"
            )
        self.canvas = canvas or _own_canvas(self.processor)
        blank = np.zeros((self.canvas.height, self.canvas.width, 3), dtype=np.uint8)
        read = self._read([blank])
        self.tiles = (int(read["rows"][0][0]), int(read["cols"][0][0]))
        views, _, side, _ = read["pixel_values"].shape[1:]
        patch, group = self.net.config.vision_config.patch_size, self.net.config.scale_factor
        if (side // patch) % group:
            raise PairError(
                f"{model_dir}: views of {side} pixels give {side // patch} patches a side, which "
                f"scale_factor = {group} does not divide; correct max_image_size in "
                "preprocessor_config.json"
            )
        tokens = side // patch // group
        self.grid = Grid(frames=int(views), rows=tokens, cols=tokens)

    def layout(self) -> ImageLayout:
        """Each view behind the text that names its row and column, as the processor writes it."""
        from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

        tokens = self.tokenizer
        around = getattr(tokens, "fake_image_token", None) or "<fake_token_around_image>"
        # Both families' processors write this text; SmolVLM's class needs two more packages to be
        # built.
        text = get_image_prompt_string(
            *self.tiles,
            self.grid.rows * self.grid.cols,
            fake_token_around_image=around,
            image_token=tokens.convert_ids_to_tokens(self.image_id),
            global_image_token=getattr(tokens, "global_image_token", None) or "<global-img>",
        )
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ImageLayout.of_ids(ids, self.image_id)

    @property
    def language(self) -> Any:
        """The language model without its head."""
        return self.net.model.text_model

    @torch.no_grad()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B, V, s*s*D) float32 pixel-shuffled tower tokens, view by view."""
        # The library's own `get_image_features` leaves out views whose values are all zero. Here
        # every view counts: each is a whole square, so nothing is padding and nothing is masked.
        pixels = self.views(images).flatten(0, 1)
        tower, connector = self.net.model.vision_model, self.net.model.connector
        groups = [
            connector.pixel_shuffle(
                tower(part.to(tower.device, tower.dtype)).last_hidden_state, connector.scale_factor
            )
            for part in pixels.split(_VIEWS_AT_ONCE)
        ]
        return torch.cat(groups).reshape(len(images), self.num_tokens, -1).float()

    def project(self, tokens: Tensor) -> Tensor:
        """(B, K, s*s*D) -> (B, K, D), query adapter included."""
        projection = self.net.model.connector.modality_projection
        return projection(tokens.to(self.device, next(projection.parameters()).dtype))

    def views(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B, F, 3, side, side): what the tower reads of each picture."""
        pixels: Tensor = self._read(images)["pixel_values"]
        return pixels

    def _read(self, images: Sequence[NDArray[np.uint8]]) -> Any:
        """`pixel_values` (B, views, 3, side, side); `rows` and `cols` of tiles, 0 where whole."""
        return self.processor(
            images=[on_canvas(image, self.canvas) for image in images],
            return_row_col_info=True,
            return_tensors="pt",
        )


def _own_canvas(processor: Any) -> Canvas:
    size, side = processor.size, int(processor.max_image_size["longest_edge"])
    if not processor.do_image_splitting or not processor.do_resize:
        return Canvas(height=side, width=side)
    if size.longest_edge:
        return Canvas(height=int(size.longest_edge), width=int(size.longest_edge))
    return Canvas(height=int(size.height), width=int(size.width))
