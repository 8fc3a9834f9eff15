"""TS-LLaVA: a picture of a few frames side by side, and every n-th token of all frames.

Qu et al. (arXiv 2411.11066), section 3, variant V2 of the public code. F frames of V tokens in all:

    thumbnail   g frames round(linspace(0, F - 1, g)), each resized to a cell of R x C cells, read
                by the tower as one picture more: E tokens. R C = g, R >= C, as square as can be
    sampled     tokens round(linspace(0, V - 1, S)) of all frames, one behind the other
    row         [sampled, thumbnail], in the place of the V tokens

`keep` is the share of the V tokens that both take together: B = round(keep V). The thumbnail takes
its E tokens of them, but never more than `thumbnail_share` of B: where it has more, it is sampled
as the frames are, E' = min(E, floor(thumbnail_share B)). The frames get the rest, S = B - E'. The
paper's numbers, 576 and 2880 of 50 frames of 576 tokens, are `keep = 0.12` (E is a sixth of B).

Sampled tokens keep their positions. The thumbnail's follow on the last sampled one's, one each,
and the text behind is moved on by E'. A clip of fewer than g frames gives what it has.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from driftline_shared.errors import DataError
from driftline_shared.models.compression.compressor import Frames, Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import array_namespace, beside, found
from driftline_shared.models.compression.rows.rows import Kind, TokenRow


class TsLlavaOptions(Options):
    """`keep`: by default the paper's, see above. `thumbnail_frames`: g; the paper's variants have
    4, 6 and 8. `order`: which comes first.

    `thumbnail_share`: the largest part of the budget that the thumbnail may take.
    """

    keep: float = Field(default=0.12, gt=0.0, le=1.0)
    thumbnail_frames: int = Field(default=6, ge=1)
    thumbnail_share: float = Field(default=0.5, ge=0.0, lt=1.0)
    order: Literal["sampled_first", "thumbnail_first"] = "sampled_first"


class TsLlavaCompressor(TokenCompressor):
    """Adds the thumbnail before the tower; samples frames and thumbnail before the layers."""

    options: TsLlavaOptions

    def on_frames(self, clip: NDArray[np.uint8]) -> Frames:
        """All frames, and the thumbnail."""
        if self.options.keep >= 1.0:
            return Frames()
        return Frames(extra=thumbnail(clip, self.options.thumbnail_frames)[None])

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """Sample the frames' tokens, and put the thumbnail's before or behind them."""
        num_visual = len(row.visual)
        if self.options.keep >= 1.0 or not num_visual:
            return row
        small = row.states[row.kind == Kind.EXTRA]
        budget = self.num_kept(num_visual)
        num_small = min(len(small), int(self.options.thumbnail_share * budget))
        small = small[beside(spread(len(small), num_small), small)]
        chosen = beside(spread(num_visual, budget - num_small), row.kind)
        sampled = _without_extra(row).keep_visual(chosen)
        first = self.options.order == "thumbnail_first"
        at = int(sampled.visual[0] if first else sampled.visual[-1] + 1)
        return sampled.inserted(at, small) if num_small else sampled

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """round(keep V) tokens of frames and thumbnail in every layer, whatever the clip shows."""
        return [self.num_kept(num_visual)] * self.facts.num_layers


def thumbnail(clip: NDArray[np.uint8], num_frames: int) -> NDArray[np.uint8]:
    """(H, W, 3): `num_frames` of a clip (F, H, W, 3) side by side, or all where it has fewer.

    Cells are shrunk by averaging areas. Where H or W does not divide, cells differ by one pixel.
    Raises DataError for frames that have fewer pixels than cells.
    """
    from PIL import Image

    frames, height, width, _ = clip.shape
    shown = spread(frames, min(num_frames, frames)).tolist()
    rows, cols = tiling(len(shown))
    if height < rows or width < cols:
        raise DataError(
            f"frames of {height} x {width} pixels are too small for a thumbnail of {rows} x {cols} "
            "cells: lower thumbnail_frames or give larger frames"
        )
    whole = np.empty((height, width, 3), dtype=np.uint8)
    for cell, frame in enumerate(shown):
        row, col = divmod(cell, cols)
        top, bottom = row * height // rows, (row + 1) * height // rows
        left, right = col * width // cols, (col + 1) * width // cols
        size = (right - left, bottom - top)
        small = Image.fromarray(clip[frame]).resize(size, Image.Resampling.BOX)
        whole[top:bottom, left:right] = np.asarray(small)
    return whole


def tiling(num: int) -> tuple[int, int]:
    """(R, C): the most square pair with R C = num and R >= C."""
    cols = max(side for side in range(1, math.isqrt(num) + 1) if num % side == 0)
    return num // cols, cols


def spread(num: int, chosen: int) -> NDArray[np.int64]:
    """(chosen,) rising: round(linspace(0, num - 1, chosen)), ties to even, in float32 as the public
    code has it, from both ends: of 28,800 tokens one or two are the neighbours of the exact ones.
    """
    last = np.float32(num - 1)
    step = last / np.float32(max(1, chosen - 1))
    up = np.arange(chosen, dtype=np.float32)
    places = np.where(up < chosen // 2, step * up, last - step * up[::-1])
    return np.rint(places if chosen > 1 else 0 * places).astype(np.int64)


def _without_extra(row: TokenRow) -> TokenRow:
    """The row as it was before the thumbnail's tokens came, positions too."""
    extra = row.kind == Kind.EXTRA
    bare, xp = row.take(found(~extra)), array_namespace(row.kind)
    before = xp.cumulative_sum(xp.astype(extra, xp.int64))
    return replace(bare, positions=bare.positions - before[~extra])
