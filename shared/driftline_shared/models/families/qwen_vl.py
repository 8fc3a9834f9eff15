"""What the Qwen-VL families share: merge groups as tokens, positions with three axes (M-RoPE).

The merger turns a square of s * s neighbouring patches (s = `spatial_merge_size`) into one position
of the language model. So a token is such a group before the merger: s * s patches side by side, row
by row inside the square.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
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

DEFAULT_SIDE = 448
"""Height and width of the canvas where a pair names none: 256 tokens with patches of 14 pixels."""


class QwenVlModel(FamilyModel):
    """Images of one canvas; a checkpoint's processor must leave the canvas's size as it is."""

    def _prepare(self, model_dir: Path, canvas: Canvas | None) -> None:
        self.processor = image_processor(model_dir)
        self._check_processor(model_dir)
        if canvas is not None and canvas.frames != 1:
            raise PairError(
                f"{model_dir}: this family is read image by image here, not in clips of"
                f" {canvas.frames} frames: set frames = 1 in [token_space] image and grid"
            )
        if canvas is None:
            # A blank of the default size tells the nearest size that this processor can give.
            canvas = self._nearest(Canvas(height=DEFAULT_SIDE, width=DEFAULT_SIDE))
        nearest = self._nearest(canvas)
        if nearest != canvas:
            raise PairError(
                f"{model_dir}: images of {canvas.height} x {canvas.width} would be resized by the"
                f" checkpoint's own image processor; the nearest size it keeps is image ="
                f" {{ height = {nearest.height}, width = {nearest.width} }} in [token_space]"
            )
        self.canvas = canvas
        side = self._patch * self._merge
        self.grid = Grid(rows=canvas.height // side, cols=canvas.width // side)

    def layout(self) -> ImageLayout:
        """One position a token; rows and columns count on their own axes, as the library does."""
        count = self.num_tokens
        kinds = torch.ones((1, count + 1), dtype=torch.int)
        kinds[0, -1] = 0  # one place of text, to see where text goes on
        rope, _ = self.net.model.get_rope_index(
            torch.full((1, count + 1), self.image_id),
            mm_token_type_ids=kinds,
            image_grid_thw=self.grid_of_patches,
        )
        return ImageLayout(
            ids=torch.zeros(count, dtype=torch.long),
            visual=torch.arange(count),
            positions=rope[:, 0, :-1],
            span=int(rope[0, 0, -1]),
        )

    @torch.no_grad()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B, V, D_v) float32 merge groups of tower states before the merger, row by row."""
        pixels, patches = self.patches(images)
        tower = self.net.model.visual
        groups = self._groups(tower, pixels.to(self.device, tower.dtype), patches.to(self.device))
        return groups.reshape(len(images), self.num_tokens, -1).float()

    def patches(self, images: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
        """(B * N, C * t * p * p) pixels of patches as the tower reads them, merge group by merge
        group, and (B, 3) frames, rows and columns of patches.
        """
        pictures = [picture for image in images for picture in on_canvas(image, self.canvas)]
        given = self.processor(images=pictures, return_tensors="pt")
        return given["pixel_values"], given["image_grid_thw"]

    @abstractmethod
    def _groups(self, tower: Any, pixels: Tensor, patches: Tensor) -> Tensor:
        """(B * V, D_v) groups in reading order; `patches` (B, 3): frames, rows, cols of patches."""

    def merged(self, merger: Any, groups: Tensor) -> Tensor:
        """(B, K, s * s * D_p) through one of the tower's mergers -> (B, K, D)."""
        rows, kept, width = groups.shape
        patches = groups.reshape(-1, width // self._merge**2)
        patches = patches.to(self.device, next(merger.parameters()).dtype)
        projected: Tensor = merger(patches)
        return projected.reshape(rows, kept, -1)

    @cached_property
    def grid_of_patches(self) -> Tensor:
        """(1, 3) frames, rows and columns of patches of every picture."""
        return self._patches(self.canvas)

    @property
    def _merge(self) -> int:
        return int(self.net.config.vision_config.spatial_merge_size)

    @property
    def _patch(self) -> int:
        return int(self.net.config.vision_config.patch_size)

    def _patches(self, canvas: Canvas) -> Tensor:
        """(1, 3) frames, rows and columns of patches that the processor makes of this canvas."""
        from PIL import Image

        blank = Image.new("RGB", (canvas.width, canvas.height))
        try:
            grid: Tensor = self.processor(images=[blank], return_tensors="pt")["image_grid_thw"]
        except ValueError as error:
            raise PairError(f"no canvas of {canvas.height} x {canvas.width}: {error}") from error
        return grid

    def _nearest(self, canvas: Canvas) -> Canvas:
        _, rows, cols = self._patches(canvas)[0].tolist()
        return Canvas(height=rows * self._patch, width=cols * self._patch)

    def _check_processor(self, model_dir: Path) -> None:
        vision = self.net.config.vision_config
        for key, wanted in (
            ("patch_size", vision.patch_size),
            ("merge_size", vision.spatial_merge_size),
            ("temporal_patch_size", vision.temporal_patch_size),
        ):
            found = getattr(self.processor, key, None)
            if found != wanted:
                raise PairError(
                    f"{model_dir}: the image processor's {key} is {found}, the tower's is {wanted}:"
                    " take both files from the same checkpoint"
                )
