"""HoliTom: what stays still in a clip is kept once, of the rest what the tower looks at.

Shao et al. (arXiv 2505.21334), in the form of the public code. T frames of M tokens x, projected,
before the language model, with V = T M; a, the attention paid to each by all tokens of its frame in
the tower, mean over heads.

    still(t, m)  cos(x_(t,m), x_(t+1,m)) > `still`
    windows      of consecutive frames s..e, all frames in one each, so that the sum over windows of
                 (e - s) |{m: still(t, m) for all t of s..e-1}| is largest: c tokens less. By
                 dynamic programming over e; of equal sums the shorter last window
    r            = min(1, keep V / (V - c))
    still cells  of a window, n of them, become one token each, the mean over its frames; they fall
                 into round(n r) clusters by density peaks (`neighbours` nearest, see
                 `clustering.py`), and of each `centre` of its middle and 1 - `centre` of the mean
                 of its others stays, in the middle's cell of frame s
    other cells  of every frame, n of them: the ceil(n r) of largest a stay
    within       before layer k, of L tokens left the round((1 - merged) L) stay that the last token
                 attends to most in layer k - 1; each other one, by place, is averaged into the one
                 of largest cosine: h <- (h + h_j) / 2

What makes a difference: the code writes still cells first where a newline ends a clip, but in
reading order where it ends rows, as is done here. It pools attention as it does tokens; here it is
the patches' mean. It adds noise to densities, here the earlier point counts as denser, so that the
middle of a single cluster is no chance; and may leave no token at all, here the one of largest a.
Its D, which clusters some of the other cells, is 0 by default and not built.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic import Field

from driftline_shared.errors import DataError
from driftline_shared.models.compression import flops
from driftline_shared.models.compression.clustering import density_peaks
from driftline_shared.models.compression.compressor import Layers, Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import (
    Array,
    added,
    array_namespace,
    bincount,
    counted,
    found,
    largest_first,
    plain,
    unit,
)
from driftline_shared.models.compression.rows.rows import TokenRow, TowerTokens

PUBLISHED_LAYER, PUBLISHED_DEPTH = 18, 28

ROUNDING = 1e-9
"""Keeps 0.3 * 10 = 3.0..04 at 3 when it is rounded up."""


class HoliTomOptions(Options):
    """`keep`: by default the code's 10 %, before layer k. `still`: the cosine above which a cell
    stays the same. `neighbours`, `centre`: of clusters. `merged`: the share of what is left that
    goes before `layer`, k; 0 is the published "w/o M". k is 18 of 28 layers by default.
    """

    keep: float = Field(default=0.1, gt=0.0, le=1.0)
    still: float = Field(default=0.8, ge=-1.0, le=1.0)
    neighbours: int = Field(default=7, ge=1)
    centre: float = Field(default=0.6, ge=0.0, le=1.0)
    merged: float = Field(default=0.5, ge=0.0, lt=1.0)
    layer: int | None = Field(default=None, ge=1)

    def merge_layer(self, depth: int) -> int:
        """k for a model of this depth, never past its last layer."""
        layer = round(PUBLISHED_LAYER / PUBLISHED_DEPTH * depth)
        return max(1, min(layer if self.layer is None else self.layer, depth - 1))


class HoliTomCompressor(TokenCompressor):
    """Merges and drops a clip's tokens before the language model, and once more within it."""

    needs = frozenset({"head_attention"})
    tolerance: ClassVar[float] = 0.5
    options: HoliTomOptions

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        self._attention: Array | None = None

    def on_vision(self, tokens: TowerTokens, question: Array | None) -> TowerTokens:
        """All tokens as they are; their attention is remembered."""
        assert tokens.head_attention is not None, "`needs` says so"
        seen = plain(tokens.head_attention)
        self._attention = array_namespace(seen).mean(seen, axis=1)
        return tokens

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """Still cells once a window, and of all others those of most attention."""
        visual, grid = row.visual, row.grid
        if self.options.keep >= 1.0 or not len(visual):
            return row
        seen = self._attention
        if seen is None or len(visual) != grid.num_tokens:
            raise DataError(
                f"compressor holitom reads whole clips and their tower: of {grid.num_tokens} "
                f"tokens the row has {len(visual)}"
            )
        xp = array_namespace(row.states)
        clip = row.states[visual]
        states = xp.reshape(clip, (grid.frames, -1, clip.shape[1]))
        seen = xp.reshape(seen, (grid.frames, -1))
        rays = unit(plain(states))
        still = xp.sum(rays[:-1] * rays[1:], axis=-1) > self.options.still
        windows, fewer = _windows(still.tolist(), seen.shape[1])
        num = len(visual)
        ratio = min(1.0, self.options.keep * num / (num - fewer))
        parts = [self._window(states, seen, still, window, ratio) for window in windows]
        kept, values = (xp.concat(part) for part in zip(*parts, strict=True))
        if not len(kept):
            kept = largest_first(xp.reshape(seen, (-1,)))[:1]
            values = clip[kept]
        return row.replaced(visual[kept], values).keep_visual(kept)

    def rows_before(self, layer: int, row: TokenRow) -> Array | None:
        """The last place, before layer k."""
        if self.options.keep >= 1.0 or not self.options.merged or not len(row.visual):
            return None
        if layer != self.options.merge_layer(self.facts.num_layers):
            return None
        return counted(len(row), row.kind)[-1:]

    def on_layer(self, layer: int, row: TokenRow, attention: Array | None) -> TokenRow:
        """At k: the tokens of most attention, with the others in those they are most like."""
        if attention is None:
            return row
        visual = row.visual
        num = self._left(len(visual))
        order, xp = largest_first(plain(attention)[0, visual]), array_namespace(row.states)
        kept, others = xp.sort(order[:num]), xp.sort(order[num:])
        states = row.states[visual]
        rays = unit(plain(states))
        into = xp.argmax(rays[others] @ rays[kept].T, axis=1)
        values = _halved(states[kept], states[others], into)
        return row.replaced(visual[kept], values).keep_visual(kept)

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """Of a clip in which nothing is still: ceil(keep M) of each frame, and what is left of them
        from k on. Still cells make it a few more or less, and fewer where all that moves stays.
        """
        depth, frames = self.facts.num_layers, self.facts.grid.frames
        if self.options.keep >= 1.0 or not num_visual:
            return [num_visual] * depth
        cells = num_visual / frames
        num = min(num_visual, frames * math.ceil(self.options.keep * cells - ROUNDING))
        first = self.options.merge_layer(depth) if self.options.merged else depth
        return [num] * first + [self._left(num)] * (depth - first)

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """Cosines of frames, 6 V d, and before k one row of attention and cosines of what goes
        with what stays, 2 d each. Of clusters, which depend on the clip, none are counted.
        """
        width = self.facts.width
        total = 6 * num_visual * width
        for before, after in flops.cuts(layers):
            gone = before.queries - after.queries
            stays = max(0, after.queries - num_text)
            total += flops.row_flops(self.facts, 1, before.keys) + 2 * gone * stays * width
        return total

    def _left(self, num: int) -> int:
        return max(1, round(num * (1 - self.options.merged)))

    def _window(
        self, states: Array, seen: Array, still: Array, window: tuple[int, int], ratio: float
    ) -> tuple[Array, Array]:
        """Flat indices (k,) that a window of frames keeps, and their values (k, D)."""
        start, end = window
        xp, cells = array_namespace(states), states.shape[1]
        fixed = xp.all(still[start:end], axis=0) & (end > start)
        moving = found(~fixed)
        num = math.ceil(len(moving) * ratio - ROUNDING)
        order = xp.argsort(seen[start : end + 1][:, moving], axis=1, descending=True, stable=True)
        frames = start + counted(end + 1 - start, moving)[:, None]
        kept = xp.reshape(frames * cells + moving[order[:, :num]], (-1,))
        values = xp.reshape(states, (-1, states.shape[2]))[kept]
        held, merged = self._still(states[start : end + 1], found(fixed), ratio)
        return xp.concat([start * cells + held, kept]), xp.concat([merged, values])

    def _still(self, states: Array, cells: Array, ratio: float) -> tuple[Array, Array]:
        """Of `cells` (n,) that stay the same over the frames `states`: those in which a cluster
        stands, and what stands there.
        """
        xp = array_namespace(states)
        means = xp.mean(states[:, cells], axis=0)
        num = round(len(cells) * ratio)
        if not num:
            return cells[:0], means[:0]
        clusters = density_peaks(means, num, min(self.options.neighbours, num))
        centres = clusters.centres
        members = xp.astype(bincount(clusters.member, num), means.dtype)[:, None]
        own = means[centres]
        others = (clusters.sums(means) - own) / xp.clip(members - 1, 1.0, None)
        mixed = self.options.centre * own + (1 - self.options.centre) * others
        return cells[centres], xp.where(members > 1, mixed, own)


def _windows(still: list[list[bool]], cells: int) -> tuple[list[tuple[int, int]], int]:
    """The windows of T frames, (first, last) each, and how many tokens fewer they are; `still`
    (T - 1, `cells`).
    """
    frames = len(still) + 1
    fewer = [[0] * frames for _ in range(frames)]
    for start in range(frames - 1):
        alive = set(range(cells))
        for end in range(start + 1, frames):
            alive = {cell for cell in alive if still[end - 1][cell]}
            fewer[start][end] = (end - start) * len(alive)
    best, first = [0] * (frames + 1), [0] * frames
    for end in range(frames):
        best[end + 1], first[end] = best[end], end
        for start in range(end - 1, -1, -1):
            gain = best[start] + fewer[start][end]
            if gain > best[end + 1]:
                best[end + 1], first[end] = gain, start
    windows, end = [], frames - 1
    while end >= 0:
        windows.append((first[end], end))
        end = first[end] - 1
    return windows[::-1], best[frames]


def _halved(kept: Array, others: Array, into: Array) -> Array:
    """`kept` (k, D) after each of `others` (m, D), in order, was averaged into `into` (m,) its one:
    of c in one the i-th counts 2^-(c - i), from 0 on, and the first itself 2^-c.
    """
    xp = array_namespace(kept)
    member = xp.astype(into[:, None] == counted(len(kept), into), xp.int64)
    counts = xp.sum(member, axis=0)
    before = xp.sum(xp.cumulative_sum(member, axis=0) * member, axis=1)
    later = xp.astype(counts[into] - before + 1, kept.dtype)
    weighted = kept * 0.5 ** xp.astype(counts, kept.dtype)[:, None]
    return added(weighted, into, others * 0.5 ** later[:, None])
