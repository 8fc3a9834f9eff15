"""SparseVLM: drop visual tokens layer by layer, by the attention of the question's own tokens.

Zhang et al., SparseVLM, arXiv 2410.04417. Once, on the embeddings, text tokens that the image
speaks to become *raters*. Behind a few layers the visual tokens they look at least are deleted, and
the better part of those is merged into a few recycled tokens.

Which form this is: raters by r >= mean(r) and the number deleted by a list or by the rank, as in
the paper; clusters by density peaks, joined by distance, and recycled tokens by the mean, as in the
public code (the paper joins by cosine; its sum is an option). The paper's order [kept, recycled,
text] is here kept by position: a recycled token takes the place of its cluster's centre. Not built:
V2.0's choice of heads and its correction of position bias, which need attention per head of the
language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression import flops
from driftline_shared.models.compression.clustering import density_peaks
from driftline_shared.models.compression.compressor import Layers, Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import (
    Array,
    array_namespace,
    counted,
    found,
    largest_first,
    plain,
    softmax,
)
from driftline_shared.models.compression.rows.rows import TokenRow

PUBLISHED_TOKENS = 576
PUBLISHED_LISTS = {64: (66, 30, 17), 96: (238, 48, 26), 128: (303, 110, 36), 192: (300, 200, 110)}
"""Equivalent tokens -> tokens kept behind each pruning layer, of `PUBLISHED_TOKENS` (v1.5)."""

PUBLISHED_LAYERS = (2 / 32, 6 / 32, 15 / 32)
"""Pruning layers as shares of the depth."""

TOLERANCE = 0.005
"""How far, as a share of all tokens, a published list may miss `keep` and still stand."""


class SparseVlmOptions(Options):
    """Options of SparseVLM.

    `keep`: tokens per layer, on average over the layers, as a share of all; published are 1/3, 2/9
    and 1/9 (192, 128 and 64 of 576), of which the first is the default. `average`: over tokens
    *leaving* each layer, as the published budgets count, or *entering* it, as FLOPs do.
    `layers`: behind which layers to prune (0-based); by default 2, 6 and 15 of 32, scaled.
    `counts`: how many stay: by `schedule` (see `kept_by_schedule`), or by the `rank` of the raters'
    attention P: N_del = `rank_scale` (N - rank(P)), by default 1 - `keep`.
    `shares`: tokens kept behind each layer as shares of all, in place of the schedule for `keep`.
    `recycled`: share of the deleted tokens that is merged rather than lost. `recycle`: how.
    `renumber`: give positions anew without gaps, as v1 does; else tokens keep theirs.
    """

    keep: float = Field(default=1 / 3, gt=0.0, le=1.0)
    average: Literal["outputs", "inputs"] = "outputs"
    layers: tuple[int, ...] | None = None
    counts: Literal["schedule", "rank"] = "schedule"
    rank_scale: float | None = Field(default=None, gt=0.0)
    shares: tuple[float, ...] | None = None
    recycled: float = Field(default=0.3, ge=0.0, le=1.0)
    recycle: Literal["mean", "sum", "off"] = "mean"
    renumber: bool = False


class SparseVlmCompressor(TokenCompressor):
    """One row's raters and budget; prunes at the input of layer l + 1 for a pruning layer l."""

    options: SparseVlmOptions

    def __init__(self, *rest: Any) -> None:
        """Raises ConfigError for layers or shares that do not fit the model."""
        super().__init__(*rest)
        self._layers = _checked_layers(self.options, self.facts.num_layers)
        self._kept: tuple[int, ...] = ()
        self._raters: Array | None = None

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """Choose the raters; the row stays whole.

        R = softmax over text of H_v H_q^T, r = mean of R over visual tokens, raters are the text
        tokens with r >= mean(r) (paper, section 3.2); text is all text behind the image.
        """
        visual, question = row.visual, row.question
        self._kept = self._budget(len(visual))
        if len(visual) and len(question):
            states, xp = plain(row.states), array_namespace(row.states)
            rating = xp.mean(softmax(states[visual] @ states[question].T), axis=0)
            chosen = found(rating >= xp.mean(rating))
            # Of equal ratings, rounding may leave none at the mean or above.
            if not len(chosen):
                chosen = counted(len(question), question)
            self._raters = len(row.text) - len(question) + chosen
        return row

    def rows_before(self, layer: int, row: TokenRow) -> Array | None:
        """The raters' places; behind an image without text, the row's last place."""
        if layer - 1 not in self._layers or self.options.keep >= 1.0 or not len(row.visual):
            return None
        if self.options.counts == "schedule" and len(row.visual) <= self._target(layer):
            return None
        if self._raters is None:
            return counted(len(row), row.kind)[-1:]
        return row.text[self._raters]

    def on_layer(self, layer: int, row: TokenRow, attention: Array | None) -> TokenRow:
        """Keep the visual tokens of highest mean attention of the raters; recycle of the others."""
        if attention is None:
            return row
        visual, xp = row.visual, array_namespace(row.states)
        seen = plain(attention)[:, visual]
        num = self._target(layer) if self.options.counts == "schedule" else self._by_rank(seen)
        order = largest_first(xp.mean(seen, axis=0))
        kept, deleted = order[:num], order[num:]
        if not len(deleted):
            return row
        if self.options.recycle != "off":
            again, groups = recycled_counts(len(deleted), self.options.recycled)
            members = xp.sort(deleted[:again])
            merged = visual[members]
            clusters = density_peaks(row.states[merged], groups)
            merge = clusters.means if self.options.recycle == "mean" else clusters.sums
            centres = members[clusters.centres]
            row = row.merged(visual[centres], lambda states: merge(states[merged]))
            kept = xp.concat([kept, centres])
        row = row.keep_visual(kept)
        return row.renumbered() if self.options.renumber else row

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """Exact for `schedule`; for `rank` an estimate with rank(P) = half of all text."""
        if self.options.counts == "rank" and self.options.keep < 1.0:
            return self._rank_estimate(num_text, num_visual)
        kept = self._budget(num_visual)
        return entering(num_visual, kept, self._layers, self.facts.num_layers, self.options)

    def narrowing_layers(self, num_visual: int) -> tuple[int, ...]:
        """All of `layers`: where one token is deleted and one recycled, as many are left."""
        if self.options.keep >= 1.0 or not num_visual:
            return ()
        return tuple(layer + 1 for layer in self._layers)

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """The appendix's formulas, in FLOPs as they stand there: 2 L_t N d for the raters, once; at
        each cut L_t N min(L_t, N) for the rank, where it decides, and L_r (3 L_r - 1) 2 d for the
        clusters of L_r tokens; and here rows of attention of, at most, all L_t text tokens.
        """
        width, total = self.facts.width, 2 * num_text * num_visual * self.facts.width
        for before, after in flops.cuts(layers):
            total += flops.row_flops(self.facts, num_text, before.keys)
            if self.options.counts == "rank":
                seen = num_visual - (layers[0].keys - before.keys)
                total += num_text * seen * min(num_text, seen)
            if self.options.recycle != "off":
                # Deleted are those that are gone and the centres, a tenth of what is merged.
                deleted = (before.queries - after.queries) / (1 - self.options.recycled / 10)
                merged = int(self.options.recycled * deleted) + 1
                total += merged * (3 * merged - 1) * 2 * width
        return total

    # -- how many ---------------------------------------------------------------------------------

    def _target(self, layer: int) -> int:
        return self._kept[self._layers.index(layer - 1)]

    def _budget(self, num: int) -> tuple[int, ...]:
        """Tokens kept behind each pruning layer."""
        options = self.options
        if options.keep >= 1.0 or not num or not self._layers:
            return (num,) * len(self._layers)
        if options.shares is not None:
            return _rounded(options.shares, num)
        return kept_by_schedule(options, self._layers, self.facts.num_layers, num)

    def _by_rank(self, seen: Array) -> int:
        return self._left(seen.shape[1], int(array_namespace(seen).linalg.matrix_rank(seen)))

    def _left(self, num: int, rank: int) -> int:
        scale = self.options.rank_scale
        scale = 1.0 - self.options.keep if scale is None else scale
        return max(1, num - int(scale * (num - rank)))

    def _rank_estimate(self, num_text: int, num_visual: int) -> list[int]:
        counts, num = [], num_visual
        for layer in range(self.facts.num_layers):
            if layer - 1 in self._layers and num:
                left = self._left(num, min(num, max(1, num_text // 2)))
                num = left + _recycled(num - left, self.options)
            counts.append(num)
        return counts


def default_layers(depth: int) -> tuple[int, ...]:
    """Layers 2, 6 and 15 of 32 at this depth, at least 1 apart; the last that fit."""
    layers: list[int] = []
    for share in PUBLISHED_LAYERS:
        layer = int(share * depth + 0.5)
        layer = max(layer, layers[-1] + 1) if layers else layer
        if layer <= depth - 2:
            layers.append(layer)
    return tuple(layers)


def recycled_counts(deleted: int, share: float) -> tuple[int, int]:
    """Of so many deleted tokens: how many are merged, m = int(share n) + 1, and into how many:
    int(m / 10) + 1.
    """
    again = min(deleted, int(share * deleted) + 1)
    return again, again // 10 + 1


def entering(
    num: int, kept: Sequence[int], layers: Sequence[int], depth: int, options: SparseVlmOptions
) -> list[int]:
    """Visual tokens at the input of every layer, recycled ones counted."""
    counts = []
    targets = dict(zip(layers, kept, strict=True))
    for layer in range(depth):
        target = targets.get(layer - 1, num)
        if target < num:
            num = target + _recycled(num - target, options)
        counts.append(num)
    return counts


def kept_by_schedule(
    options: SparseVlmOptions, layers: Sequence[int], depth: int, num: int
) -> tuple[int, ...]:
    """Tokens kept behind each of `layers`, so that their average over layers is `keep` `num`.

    The published lists, as shares of their 576 tokens, are points on a line from none at budget 0
    to all at 1: s(b), linear between the budgets b = 64/576 .. 192/576 (for a number of layers
    other than three, linear along the list as well). s(`keep`) stands where its average over the
    layers, recycled tokens counted, is within 0.5 % of all tokens of `keep`: so the published
    budgets at the published depth give the published lists. Else b is moved, by halving, until the
    average is nearest. Where the layers before the first pruning exceed `keep` by themselves, one
    token is kept.
    """
    knots = [0.0, *(b / PUBLISHED_TOKENS for b in PUBLISHED_LISTS), 1.0]
    lists = [(0,) * 3, *PUBLISHED_LISTS.values(), (PUBLISHED_TOKENS,) * 3]
    along = np.linspace(0.0, 2.0, len(layers)) if len(layers) > 1 else np.array([2.0])

    def kept(budget: float) -> tuple[int, ...]:
        column = [np.interp(budget, knots, [row[i] for row in lists]) for i in range(3)]
        shares = np.interp(along, range(3), column) / PUBLISHED_TOKENS
        return _rounded([float(share) for share in shares], num)

    def average(budget: float) -> float:
        counts = entering(num, kept(budget), layers, depth, options)
        if options.average == "outputs":
            counts = [*counts[1:], counts[-1]]
        return sum(counts) / depth

    target = options.keep * num
    if abs(average(options.keep) - target) <= TOLERANCE * num:
        return kept(options.keep)
    low, high = 0.0, 1.0
    for _ in range(32):
        middle = (low + high) / 2
        low, high = (middle, high) if average(middle) <= target else (low, middle)
    return kept(min((low, high), key=lambda budget: abs(average(budget) - target)))


def _recycled(deleted: int, options: SparseVlmOptions) -> int:
    if not deleted or options.recycle == "off":
        return 0
    return recycled_counts(deleted, options.recycled)[1]


def _rounded(shares: Sequence[float], num: int) -> tuple[int, ...]:
    return tuple(max(1, min(num, round(share * num))) for share in shares)


def _checked_layers(options: SparseVlmOptions, depth: int) -> tuple[int, ...]:
    layers = default_layers(depth) if options.layers is None else options.layers
    if list(layers) != sorted(set(layers)) or any(not 0 <= layer <= depth - 2 for layer in layers):
        raise ConfigError(
            f"compressor sparsevlm: layers is {list(layers)}; give rising layers from 0 to "
            f"{depth - 2}, the last but one of this model"
        )
    shares = options.shares
    if shares is not None and (
        len(shares) != len(layers) or any(not 0.0 < share <= 1.0 for share in shares)
    ):
        raise ConfigError(
            f"compressor sparsevlm: shares is {list(shares)}; give one above 0 and up to 1 for "
            f"each of the layers {list(layers)}"
        )
    return layers
