"""LongVU: fewer frames, lower resolution for frames the question does not ask for, then tokens.

Shen et al. (arXiv 2410.17434), section 3: the three reductions without weights, in turn, each only
while the clip has more tokens than the budget N = round(keep V). Letters: T frames of M tokens, L
tokens of a frame at low resolution.

**Frames** (tower tokens; where T >= floor(N / L)). z_i: the tokens of frame i side by side, of
length 1. In each window of `frame_window` frames

    s_i = mean over j of z_i . z_j, i itself included; 0 for the window's middle frame

and frames with s_i >= `frame_threshold` go; of n > `max_frames` = m, those at floor(i n / m) stay,
i = 0..m - 1, as in the code. The paper
compares features of DINOv2. A pair has one tower, whose own tokens stand in for them here; they
are more alike from frame to frame, so the threshold may want to be higher.

**Resolution** (embeddings). A frame at low resolution is R' x C' means, R' = round(`low_side` R):
cell (r, c) is of block (floor(r R' / R), floor(c C' / C)), and a block's mean takes the place of
its first cell. The public code resizes bilinearly from 12 x 12 to 8 x 8; blocks have no cell in
common and need no whole frame. A frame's score is the mean of v . t over its L tokens v and input
embeddings t of the text behind the image. Where T L <= N the floor((N - T L) / (M - L)) frames of
highest score keep their M tokens; else none does, and:

**Tokens**. Of `chunk` frames the first is whole; tokens of the others go where their cosine to the
first one's token of the same block is >= `token_threshold`. If N is still exceeded, `cut` says what
goes: `even`, the default, keeps tokens round(linspace(0, n - 1, N)) of the n left, the same share
of every frame. `tail` is the public code's: the same number from the end of each chunk, rounded
up, so that the budget holds, or a little less. It takes the last frames of every chunk away.

Window and thresholds are the public code's; the paper says windows of 8 frames.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from driftline_shared.models.compression.compressor import Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import (
    Array,
    added,
    array_namespace,
    beside,
    bincount,
    counted,
    filled,
    found,
    largest_first,
    mask_of,
    plain,
    smallest,
    unit,
)
from driftline_shared.models.compression.rows.rows import TokenRow, TowerTokens
from driftline_shared.tokens import Grid


class LongVuOptions(Options):
    """`keep`: the budget, an upper bound: how many frames and tokens go for being alike depends on
    the clip, and what that frees beyond the budget stays free. The paper's budget is a context of
    8,192 tokens, which is no share: the default of one half is nobody's.
    """

    frame_window: int = Field(default=16, ge=1)
    frame_threshold: float = 0.83
    max_frames: int = Field(default=400, ge=1)
    low_side: float = Field(default=2 / 3, gt=0.0, le=1.0)
    chunk: int = Field(default=8, ge=1)
    token_threshold: float = 0.8
    cut: Literal["even", "tail"] = "even"


class LongVuCompressor(TokenCompressor):
    """Drops frames before the projector; pools and drops tokens before the layers."""

    options: LongVuOptions
    tolerance: ClassVar[float] = 1.0

    def on_vision(self, tokens: TowerTokens, question: Array | None) -> TowerTokens:
        """Drop frames that are like those round them."""
        frames = array_namespace(tokens.frame).unique_values(tokens.frame)
        few = self._budget(tokens.grid) // self._low(tokens.grid)
        if self.options.keep >= 1.0 or len(frames) < few:
            return tokens
        stays = mask_of(self._frames(tokens), tokens.grid.frames)
        return tokens.take(found(stays[tokens.frame]))

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """Pool frames and drop tokens until the budget holds."""
        budget = self._budget(row.grid)
        if self.options.keep >= 1.0 or len(row.visual) <= budget:
            return row
        blocks = _Blocks(row, *_low_grid(row.grid, self.options.low_side))
        if blocks.num > budget:
            pooled = blocks.pooled(row, blocks.frame >= 0)
            return pooled.keep_visual(self._spared(pooled, blocks, budget))
        high = mask_of(blocks.asked_for(row, budget), row.grid.frames)
        return blocks.pooled(row, ~high[blocks.frame])

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """Exact where frames need not be dropped, T < floor(N / L); else the upper bound N."""
        grid = self.facts.grid
        left, low = min(num_visual, self._budget(grid)), self._low(grid)
        more = grid.rows * grid.cols - low
        whole = num_visual == grid.num_tokens and left < num_visual
        if whole and more and grid.frames < left // low:
            left = grid.frames * low + (left - grid.frames * low) // more * more
        return [left] * self.facts.num_layers

    def _budget(self, grid: Grid) -> int:
        """N, of all the tokens that a clip of this grid has, whatever is left of them."""
        return self.num_kept(grid.num_tokens)

    def _low(self, grid: Grid) -> int:
        """L, the tokens of a frame at low resolution."""
        rows, cols = _low_grid(grid, self.options.low_side)
        return rows * cols

    def _frames(self, tokens: TowerTokens) -> Array:
        """(m,) rising frames that stay."""
        xp, per_frame = array_namespace(tokens.values), tokens.grid.rows * tokens.grid.cols
        frames, frame = xp.unique_inverse(tokens.frame)
        values = plain(tokens.values)
        if len(values) < len(frames) * per_frame:
            # Cells that are no longer there count as zeros, so that frames stay comparable.
            whole = filled((len(frames) * per_frame, values.shape[1]), 0.0, values)
            whole[frame * per_frame + tokens.token % per_frame] = values
            values = whole
        clip = xp.reshape(values, (len(frames), -1))
        alike = []
        for start in range(0, len(frames), self.options.frame_window):
            window = clip[start : start + self.options.frame_window]
            # Dot products first: no second copy of the clip is held.
            dots = window @ window.T
            length = xp.clip(xp.sqrt(xp.linalg.diagonal(dots)), 1e-12, None)
            mean = xp.mean(dots / length / length[:, None], axis=1)
            mean[len(window) // 2] = 0.0
            alike.append(mean)
        kept = frames[xp.concat(alike) < self.options.frame_threshold]
        # A threshold of zero or less would drop the middle frames, too.
        kept = kept if len(kept) else frames[:1]
        most = self.options.max_frames
        if len(kept) <= most:
            return kept
        return kept[counted(most, kept) * len(kept) // most]

    def _spared(self, pooled: TokenRow, blocks: _Blocks, budget: int) -> Array:
        """Rising indices into the visual tokens of `pooled`, all blocks of it, that stay."""
        xp = array_namespace(pooled.states)
        order = xp.argsort(blocks.first)
        cell, rays = blocks.cell[order], unit(plain(pooled.states[pooled.visual]))
        rank = xp.unique_inverse(blocks.frame[order])[1]
        chunk, leads = rank // self.options.chunk, rank % self.options.chunk == 0
        num_chunks = int(xp.max(chunk)) + 1
        absent = -1
        table = filled((num_chunks, int(xp.max(cell)) + 1), absent, cell)
        table[chunk[leads], cell[leads]] = found(leads)
        leader = table[chunk, cell]
        likeness = xp.sum(rays * rays[xp.clip(leader, 0, None)], axis=-1)
        same = likeness >= self.options.token_threshold
        left = found(leads | (leader == absent) | ~same)
        over = len(left) - budget
        if over <= 0:
            return left
        if self.options.cut == "even":
            return left[beside(_spread(len(left), budget), left)]
        num = bincount(chunk[left], num_chunks)
        within = counted(len(left), left) - (xp.cumulative_sum(num) - num)[chunk[left]]
        each = -(-over // num_chunks)
        return left[within < (num - each)[chunk[left]]][:budget]


class _Blocks:
    """The visual tokens of a row by block of their frame's low-resolution grid; B blocks.

    `of` (k,): block of each visual token. `frame`, `cell` (B,): where a block is; `first` (B,): its
    first token, an index into the visual ones; `size` (B,).
    """

    def __init__(self, row: TokenRow, rows: int, cols: int) -> None:
        grid = row.grid
        down, right = row.cell // grid.cols, row.cell % grid.cols
        cell = down * rows // grid.rows * cols + right * cols // grid.cols
        xp = array_namespace(cell)
        ids, self.of = xp.unique_inverse(row.frame * (rows * cols) + cell)
        self.num = len(ids)
        self.size = bincount(self.of, self.num)
        self.frame, self.cell = ids // (rows * cols), ids % (rows * cols)
        self.first = smallest(counted(len(cell), cell), self.of, self.num)

    def means(self, states: Array) -> Array:
        """Of states (k, D) of the visual tokens: (B, D) float32."""
        xp = array_namespace(states)
        states = xp.astype(states, xp.float32, copy=False)
        sums = added(filled((self.num, states.shape[1]), 0.0, states), self.of, states)
        return sums / xp.astype(self.size, states.dtype)[:, None]

    def pooled(self, row: TokenRow, low: Array) -> TokenRow:
        """`row` with the blocks `low` (B,) bool as one token each, in their first one's place."""
        stays = ~low[self.of]
        stays[self.first] = True
        visual = row.visual
        merged = row.merged(visual[self.first[low]], lambda states: self.means(states[visual])[low])
        return merged.keep_visual(found(stays))

    def asked_for(self, row: TokenRow, budget: int) -> Array:
        """Frames that the question asks for most, as many as may stay whole."""
        means, xp = plain(self.means(row.states[row.visual])), array_namespace(row.states)
        frames, frame = xp.unique_inverse(self.frame)
        blocks = bincount(frame, len(frames))
        sums = added(filled((len(frames), means.shape[1]), 0.0, means), frame, means)
        # A mean of dot products is the dot product of means.
        text = row.question if len(row.question) else row.text
        asked = xp.mean(plain(row.states[text]), axis=0)
        order = largest_first(sums / xp.astype(blocks, means.dtype)[:, None] @ asked)
        costs = bincount(frame[self.of], len(frames)) - blocks
        return frames[order[xp.cumulative_sum(costs[order]) <= budget - self.num]]


def _low_grid(grid: Grid, side: float) -> tuple[int, int]:
    return max(1, round(grid.rows * side)), max(1, round(grid.cols * side))


def _spread(num: int, chosen: int) -> Array:
    """(chosen,) int64 rising: round(linspace(0, num - 1, chosen)), ties to even."""
    # Multiplied first: halves stay halves, whatever the machine.
    steps = np.arange(chosen, dtype=np.float64) * (num - 1)
    return np.rint(steps / max(1, chosen - 1)).astype(np.int64)
