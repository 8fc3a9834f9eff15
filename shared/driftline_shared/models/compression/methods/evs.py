"""EVS (Efficient Video Sampling): of a clip the first frame stays, and the cells that change most.

Bagrov et al. (arXiv 2510.14624), in the form that vLLM ships (vllm/multimodal/evs.py). T frames of
M tokens e, projected, before the language model:

    d_(0,m)    above any other: the first frame
    d_(t,m)    = 1 - cos(e_(t,m), e_(t-1,m))
    the max(M, floor(keep T M)) tokens of largest d stay, of equal ones the earlier, at their places

The paper differs: there pixels are compared, patch by patch, d = |p_t - p_(t-1)|_1, with a
percentile of all d as the limit below which patches go, and the first frame stays beside it. vLLM
counts 1 - q in floating point and cuts, so that at q = 0.9 it keeps 9 of 100 tokens; here 0.1 of
100 are 10. Where a cell's place in the frame before is empty, because something has dropped it, it
is like nothing and stays next after the first frame's. A picture is a clip of one frame: it stays.
"""

from __future__ import annotations

from pydantic import Field

from driftline_shared.models.compression.compressor import Layers, Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import (
    Array,
    array_namespace,
    counted,
    filled,
    found,
    largest_first,
    plain,
    unit,
)
from driftline_shared.models.compression.rows.rows import NONE, TokenRow

FIRST, NEW = 255.0, 254.0
"""Differences of the first frame's tokens, and of those with nothing to compare with; 2 is the
largest of all others.
"""

ROUNDING = 1e-9
"""Keeps 0.29 * 100 = 28.999.. at 29 when it is cut to an integer."""


STILL = 1e-6
"""What differs by less has not changed: of like tokens rounding alone would decide."""


class EvsOptions(Options):
    """`keep`: 1 - q, the share of tokens that stays, by default the paper's q = 75 %; never less
    than the first frame.
    """

    keep: float = Field(default=0.25, gt=0.0, le=1.0)


class EvsCompressor(TokenCompressor):
    """Drops visual tokens of the row of embeddings; separators and text stay where they are."""

    options: EvsOptions

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """The tokens unlike those at the same place one frame earlier."""
        num = len(row.visual)
        if self.options.keep >= 1.0 or not num:
            return row
        changed = _changes(row)
        first = len(found(row.frame == row.frame[0]))
        return row.keep_visual(largest_first(changed)[: self._count(first, num)])

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """max(M, floor(keep T M)) in every layer."""
        first = -(-num_visual // self.facts.grid.frames)
        return [self._count(first, num_visual)] * self.facts.num_layers

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """A dot product and two lengths of each token: 6 T M d."""
        return 6 * num_visual * self.facts.width

    def _count(self, first: int, num: int) -> int:
        if self.options.keep >= 1.0:
            return num
        return max(first, int(self.options.keep * num + ROUNDING))


def _changes(row: TokenRow) -> Array:
    """(k,) d of every visual token."""
    rays, xp = unit(plain(row.states[row.visual])), array_namespace(row.states)
    frame, grid = row.frame, row.grid
    cells = grid.rows * grid.cols
    token = row.token[row.visual]
    at = filled(grid.frames * cells, NONE, token)
    at[token] = counted(len(token), token)
    before = xp.where(frame > 0, at[xp.clip(token - cells, 0, None)], NONE)
    changed = 1 - xp.sum(rays * rays[xp.clip(before, 0, None)], axis=-1)
    changed = xp.where(changed < STILL, 0.0, changed)
    changed = xp.where(before < 0, NEW, changed)
    return xp.where(frame == frame[0], FIRST, changed)
