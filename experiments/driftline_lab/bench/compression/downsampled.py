"""The picture itself made smaller: what a budget of tokens costs without any method.

The tower reads a picture, or each frame, of fewer pixels, its position embeddings interpolated by
the library, and gives a coarser grid of tokens. VTC-Bench (arXiv 2510.07143) finds that this beats
many methods; there models are made for many resolutions, here they were trained at one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.batches import LookedBatch, joined
from driftline_shared.models.compression.compressed_model import CompressedModel, Looked, facts_of
from driftline_shared.models.compression.compressor import (
    Compression,
    Options,
    TokenCompressor,
    kept_count,
)
from driftline_shared.models.compression.rows.rows import TowerTokens
from driftline_shared.models.compression.tower import Look
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.families.llava import LlavaModel, chosen_states
from driftline_shared.models.families.llava_onevision import LlavaOnevisionModel
from driftline_shared.tokens import Grid

DOWNSAMPLED = "smaller picture"

MOST_STRETCH = 3 / 2
"""How much more one side may shrink than the other."""


class DownsampledModel(CompressedModel):
    """`base` reading smaller pictures, about `keep` of its tokens each."""

    def __init__(self, base: LlavaModel | LlavaOnevisionModel, keep: float) -> None:
        options, facts = Options(keep=keep), facts_of(base)
        kind = TokenCompressor
        super().__init__(
            base, Compression(name=DOWNSAMPLED, kind=kind, options=options, facts=facts)
        )
        self._patched = base
        self._rows, self._cols = smaller(base.grid, keep)

    @property
    def looks(self) -> bool:
        """Always: the tower reads something else."""
        return True

    def look(
        self,
        images: Sequence[NDArray[np.uint8]],
        questions: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> Looked:
        """Rows of embeddings of the smaller pictures; tokens stand where their places were. Raises
        ConfigError where `answers` are given.
        """
        if answers is not None:
            raise ConfigError("smaller pictures are for answering, not for teaching")
        looks = [Look(tokens=self.read(image)) for image in images]
        return Looked(
            batch=self.rows([each.tokens for each in looks], questions), looks=tuple(looks)
        )

    def rows(self, tokens: Sequence[TowerTokens], questions: Sequence[str]) -> LookedBatch:
        """Rows of embeddings of pictures that have been read."""
        rows = [
            self.base.batch(self.base.project(each.values[None]), each.token[None], [question])
            for each, question in zip(tokens, questions, strict=True)
        ]
        return joined(rows, [self.compression.row() for _ in rows], left=True)

    @torch.no_grad()
    def read(self, image: NDArray[np.uint8]) -> TowerTokens:
        """The tower's tokens of one picture or clip, made smaller."""
        model, grid, vision = self._patched, self._patched.grid, self._patched.net.config
        vision = vision.vision_config
        side = vision.image_size // vision.patch_size
        high = max(1, round(side * self._rows / grid.rows))
        wide = max(1, round(side * self._cols / grid.cols))
        pixels = torch.nn.functional.interpolate(
            model.views([image]),
            size=(high * vision.patch_size, wide * vision.patch_size),
            mode="bilinear",
            antialias=True,
        )
        tower = model.net.model.vision_tower
        hidden = tower(
            pixels.to(tower.device, tower.dtype),
            output_hidden_states=True,
            return_dict=True,
            interpolate_pos_encoding=True,
        ).hidden_states
        states = chosen_states(model.net.config, hidden).float()
        own, at = _places(grid, self._rows, self._cols)
        every = model.patch_map()
        patches = every.patches[own]
        view, patch = patches // side**2, patches % side**2
        row = (patch // side).clamp_max(high - 1)
        col = (patch % side).clamp_max(wide - 1)
        taken = states.flatten(0, 1)[(view * high + row) * wide + col].flatten(1)
        values = torch.cat([taken, every.place[own].to(taken)], dim=-1)
        return TowerTokens.bare(values, at, grid)


def downsampled(model: FamilyModel, keep: float) -> DownsampledModel | None:
    """`model` on smaller pictures; None where one picture is several views, or tokens are no
    patches.
    """
    if isinstance(model, LlavaOnevisionModel) and model.grid.frames == 1:
        return None
    if not isinstance(model, LlavaModel | LlavaOnevisionModel):
        return None
    return DownsampledModel(model, keep)


def smaller(grid: Grid, keep: float) -> tuple[int, int]:
    """Rows and columns of the largest grid of at most `keep` of the tokens whose sides have shrunk
    about alike; of equally large ones the one whose sides have most alike.
    """
    most = kept_count(keep, grid.rows * grid.cols)

    def stretch(rows: int, cols: int) -> float:
        ratio = (rows / grid.rows) / (cols / grid.cols)
        return max(ratio, 1 / ratio)

    fits = [
        (rows, cols)
        for rows in range(1, grid.rows + 1)
        for cols in range(1, grid.cols + 1)
        if rows * cols <= most and stretch(rows, cols) <= MOST_STRETCH
    ]
    return max(fits or [(1, 1)], key=lambda pair: (pair[0] * pair[1], -stretch(*pair)))


def _places(grid: Grid, rows: int, cols: int) -> tuple[Tensor, Tensor]:
    """Of each token of the coarser grid: the token of the whole grid with its row and column
    number, whose patches it is made of, and the one in whose place it stands.
    """
    frame = torch.arange(grid.frames)[:, None, None] * (grid.rows * grid.cols)
    row, col = torch.arange(rows)[:, None], torch.arange(cols)
    own = frame + row * grid.cols + col
    centre_row = (2 * row + 1) * grid.rows // (2 * rows)
    centre_col = (2 * col + 1) * grid.cols // (2 * cols)
    return own.flatten(), (frame + centre_row * grid.cols + centre_col).flatten()
