"""LLaVA-OneVision: SigLIP tower -> two-layer projector -> Qwen2; pictures as tiles, clips pooled.

A picture is read as a base view of the whole and as tiles, whose patches are laid out as one large
picture with a learned newline behind each of its rows. A clip of F frames has no tiles; each
frame's S x S projected patches are pooled to T x T cells, T = ceil(S / 2), by bilinear weights:

    cell = sum_k w_k P(x_k)      x_1..x_4: the patches round the cell's centre, P: the projector

P is not linear, so a token of a clip is all four patches and the cell's place, and is pooled when
it is projected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.errors import PairError
from driftline_shared.models.families.base import LEARNED, FamilyModel, ImageLayout
from driftline_shared.models.families.llava import PatchMap, check_strategy, tower_states
from driftline_shared.models.families.onevision_frames import frame_processor
from driftline_shared.models.families.pictures import image_processor, on_canvas
from driftline_shared.pair.pair import Canvas
from driftline_shared.tokens import Grid

_VIEWS_AT_ONCE = 32
"""Bounds the tower's memory: a clip of 32 frames of 384 x 384 in one piece."""

_POOLED_ABOVE = 1.1
"""The library pools tiles that are longer by this than those it may keep, in patches a side."""

TAPS = 4
"""Patches of a cell of a clip."""

PLACE = 2
"""Channels at the end of a clip's token: row and column of its cell's centre, in 0..1."""


class LlavaOnevisionModel(FamilyModel):
    """Pictures, or clips where the canvas has more than one frame.

    Without a canvas pictures are brought to the square that the tower reads.

    Grid of pictures: 1 x V, a list in the order in which the language model reads them, base view
    first: the two views differ in scale and what padding leaves of the tiles need not divide by a
    tile, so no rows and columns hold all tokens. Patches that only show padding are no tokens.

    Grid of clips: F x T x T cells. A token has 4 D_v + 2 channels: the cell's patches, top left
    first, then its centre (`PLACE`). The centre says which weights pool it; a codec may round it,
    for the nearest cell is meant. Of clips, `taps` (T * T, 4) int64 are the patches of each cell of
    a frame, `pooling_weights` (T * T, 4) what they weigh, `centres` (T * T, 2) where the cell is.
    """

    def _prepare(self, model_dir: Path, canvas: Canvas | None) -> None:
        vision = self.net.config.vision_config
        self.canvas = canvas or Canvas(height=vision.image_size, width=vision.image_size)
        self._is_clip = self.canvas.frames > 1
        self._side = vision.image_size // vision.patch_size
        check_strategy(self.net, model_dir)
        self.processor = image_processor(model_dir)
        if self._is_clip:
            self.processor = frame_processor(model_dir, self.processor)
            self.taps, self.pooling_weights = _pooling(self.net, self._side)
            cells = -(-self._side // 2)
            self.centres = _centres(cells)
            self.grid = Grid(frames=self.canvas.frames, rows=cells, cols=cells)
        else:
            _check_size(self.net, self.canvas)
            order = _packed(self.net, self.canvas)
            self._learned = order == LEARNED
            self.order = order[~self._learned]
            self.grid = Grid(rows=1, cols=len(self.order))
        self._check_processor(model_dir)

    def layout(self) -> ImageLayout:
        """Pictures: a newline behind each row of the tiles. Clips: one, behind the last frame."""
        if self._is_clip:
            learned = torch.zeros(self.num_tokens + 1, dtype=torch.bool)
            learned[-1] = True
        else:
            learned = self._learned
        visual = torch.where(learned, LEARNED, (~learned).cumsum(0) - 1)
        places = torch.arange(len(learned))
        return ImageLayout(
            ids=torch.zeros_like(places), visual=visual, positions=places[None], span=len(learned)
        )

    @property
    def image_id(self) -> int:
        """Token id of the placeholder: `<video>` for clips."""
        config = self.net.config
        return int(config.video_token_id if self._is_clip else config.image_token_id)

    def learned(self) -> Tensor:
        """(D,) the newline."""
        return self.net.model.image_newline

    @torch.no_grad()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B, V, D_v) float32 tower tokens; (B, V, 4 D_v + 2) of clips."""
        pixels = self.views(images)
        views = torch.cat(
            [tower_states(self.net, part).float() for part in pixels.split(_VIEWS_AT_ONCE)]
        )
        if not self._is_clip:
            whole = views.reshape(len(images), -1, views.shape[-1])
            return whole[:, self.order.to(whole.device)]
        taps = views[:, self.taps.to(views.device)].flatten(2)  # (B * F, T * T, 4 D_v)
        centres = self.centres.to(taps.device).expand(len(taps), -1, -1)
        return torch.cat([taps, centres], dim=-1).reshape(len(images), self.num_tokens, -1)

    def project(self, tokens: Tensor) -> Tensor:
        """(B, K, D_v) -> (B, K, D), query adapter included; clips: (B, K, 4 D_v + 2)."""
        projector = self.net.model.multi_modal_projector
        tokens = tokens.to(self.device)
        kind = next(projector.parameters()).dtype
        if not self._is_clip:
            return projector(tokens.to(kind))
        taps, centres = tokens[..., :-PLACE], tokens[..., -PLACE:]
        cells = self.grid.rows
        row, col = (centres.float() * cells).long().clamp(0, cells - 1).unbind(-1)
        weights = self.pooling_weights.to(self.device)[row * cells + col]  # (B, K, 4)
        projected = projector(taps.to(kind).unflatten(-1, (TAPS, -1)))  # (B, K, 4, D)
        return (projected * weights[..., None].to(projected.dtype)).sum(dim=-2)

    def views(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B * views, 3, H, W): the views of each picture, or the frames of each clip."""
        return self._pixels(
            [picture for image in images for picture in on_canvas(image, self.canvas)]
        )

    def frame_views(self, frames: NDArray[np.uint8]) -> Tensor:
        """(F, 3, H, W) of any number of frames (F, H, W, 3) uint8; for a model of clips."""
        one = replace(self.canvas, frames=1)
        return self._pixels([picture for frame in frames for picture in on_canvas(frame, one)])

    def patch_map(self) -> PatchMap:
        """Pictures: a patch is a token. Clips: a cell's patches, as pooling weighs them."""
        if not self._is_clip:
            order = self.order[:, None]
            return PatchMap(
                patches=order, weights=torch.ones(order.shape), place=torch.empty(len(order), 0)
            )
        first = torch.arange(self.grid.frames)[:, None, None] * self._side**2
        return PatchMap(
            patches=(first + self.taps).flatten(0, 1),
            weights=self.pooling_weights.repeat(self.grid.frames, 1),
            place=self.centres.repeat(self.grid.frames, 1),
        )

    def _pixels(self, pictures: Sequence[Any]) -> Tensor:
        pixels: Tensor = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        return pixels if self._is_clip else pixels.flatten(0, 1)

    def _check_processor(self, model_dir: Path) -> None:
        shape = (self.canvas.height, self.canvas.width, 3)
        blank = np.zeros((self.canvas.frames, *shape), dtype=np.uint8)
        got, side = self.views([blank]).shape, self.net.config.vision_config.image_size
        views = self.canvas.frames if self._is_clip else _num_views(self.net, self.canvas)
        if tuple(got) != (views, 3, side, side):
            raise PairError(
                f"{model_dir}: preprocessor_config.json makes {got[0]} views of {got[2]} x {got[3]}"
                f" pixels, config.json reads {views} of {side} x {side}; give both the same size "
                "and image_grid_pinpoints"
            )


def _num_views(net: Any, canvas: Canvas) -> int:
    """The base view and the tiles of a picture."""
    from transformers.models.llava_onevision.modeling_llava_onevision import (
        image_size_to_num_patches,
    )

    config = net.config
    size, side = [canvas.height, canvas.width], config.vision_config.image_size
    return int(image_size_to_num_patches(size, config.image_grid_pinpoints, side))


def _packed(net: Any, canvas: Canvas) -> Tensor:
    """(L,) int64: for each place of the image's sequence the patch there, or `LEARNED`.

    Patches are numbered view by view; the library packs their numbers as it packs features.
    """
    vision, views = net.config.vision_config, _num_views(net, canvas)
    # float64 is exact here, and what the library's packing concatenates.
    numbers = torch.arange(views * (vision.image_size // vision.patch_size) ** 2).double()
    packed, _ = net.model.pack_image_features(
        [numbers.reshape(views, -1, 1)],
        torch.tensor([[canvas.height, canvas.width]]),
        image_newline=torch.tensor([LEARNED]).double(),
        vision_aspect_ratio=net.config.vision_aspect_ratio,
    )
    return packed[0][:, 0].long()


def _check_size(net: Any, canvas: Canvas) -> None:
    """Raise PairError for pictures of more tiles than the checkpoint reads without pooling."""
    limit = net.config.vision_aspect_ratio
    found = re.fullmatch(r"anyres_max_([1-9]\d*)", limit)
    if found is None:
        raise PairError(f"config.json: vision_aspect_ratio is anyres_max_N, not {limit!r}")
    num_tiles = int(found[1])
    if not _is_pooled(net, canvas, num_tiles):
        return
    fits = _largest(net, canvas, num_tiles)
    raise PairError(
        f"a picture of {canvas.height} x {canvas.width} pixels has {_num_views(net, canvas) - 1} "
        f"tiles; with {limit} the model pools its tokens after the projector, and a pooled token "
        f"is no token of the tower. The largest picture of this shape that it does not pool has "
        f"{fits.height} x {fits.width} pixels: set the pair's image to it, or to less"
    )


def _is_pooled(net: Any, canvas: Canvas, num_tiles: int) -> bool:
    """Whether the library pools what padding leaves of the tiles."""
    from transformers.models.llava_onevision.modeling_llava_onevision import (
        get_anyres_image_grid_shape,
        unpad_image,
    )

    config, size = net.config, [canvas.height, canvas.width]
    side = config.vision_config.image_size // config.vision_config.patch_size
    rows, cols = get_anyres_image_grid_shape(
        size, config.image_grid_pinpoints, config.vision_config.image_size
    )
    padded = torch.empty(1, rows * side, cols * side, device="meta")
    return math.sqrt(unpad_image(padded, size).numel() / (num_tiles * side**2)) > _POOLED_ABOVE


def _largest(net: Any, canvas: Canvas, num_tiles: int) -> Canvas:
    """The largest canvas of that shape which is not pooled; one tile never is."""
    longer = max(canvas.height, canvas.width)
    # Beyond the longest side of any tiling all pictures of a shape are tiled alike.
    bound = max(max(sides) for sides in net.config.image_grid_pinpoints)
    for side in range(min(longer - 1, bound), 1, -1):
        height, width = (max(1, each * side // longer) for each in (canvas.height, canvas.width))
        smaller = Canvas(height=height, width=width)
        if not _is_pooled(net, smaller, num_tiles):
            return smaller
    return Canvas(height=1, width=1)


def _pooling(net: Any, side: int) -> tuple[Tensor, Tensor]:
    """Patches (T * T, 4) int64 and weights (T * T, 4) of each cell of a frame.

    Read off the library's own pooling of the identity. Fewer patches than four: the rest weigh 0.
    """
    weights = net.model.apply_pooling(torch.eye(side * side)[None])[0]  # (T * T, S * S)
    # A stable sort: which patches fill up a cell is part of the token space.
    taps = weights.sort(dim=-1, descending=True, stable=True).indices[:, :TAPS].sort().values
    return taps, weights.gather(1, taps)


def _centres(cells: int) -> Tensor:
    """(T * T, 2) float32 row and column of each cell's centre, in 0..1."""
    at = (torch.arange(cells) + 0.5) / cells
    return torch.cartesian_prod(at, at)
