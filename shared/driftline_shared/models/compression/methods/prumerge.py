"""LLaVA-PruMerge: keep the patches the class token looks at, and merge alike ones into them.

Shang et al. (arXiv 2403.15388), section 3. Of each picture, or each frame of a clip: n tokens x
with keys k of the tower's last layer, and a, the attention paid to each by the class token (by all
tokens on average where there is none; see `TowerTokens`).

    chosen     the tokens of largest a: `adaptive`, those above q3 + 1.5 (q3 - q1), with q1 and q3
               the quartiles of a, one at least; else as many as `keep` says
    sampled    `plus` (PruMerge+) only: tokens at regular places besides, see below
    N(i)       the `neighbours` other tokens whose keys have the largest cosine to k_i, or all
    merged     x_i <- x_i + sum a_j x_j, over N(i), for each token i kept
    the rest   one token more, sum a_j x_j over all pruned ones, in the first one's place

This is `update` = code, the public code's form, which most likely made the published numbers: the
divisions are commented out there. As a is a share of all attention, it changes x_i little.
`update` = paper is the weighted average that the text (v1) speaks of: x_i <- (a_i x_i + sum a_j
x_j) / (a_i + sum a_j), and the rest divided by its sum of a; of independent tokens it leaves a
third of the length.

`keep` is the share of tokens that come out, the rest's token included, and is exact; the default is
not `adaptive`, which the paper is, because a budget is what methods are compared at. `plus` chooses
half of them by a (the larger half of an odd number), and s others in the middle of s equal parts of
those not chosen; the public code's fixed form takes 1/8 each, the second of all places. `adaptive`
with `plus` samples every p-th place but never the last, p = floor(floor(1 / share chosen) / 3), as
the public code does, but at least every one. That code takes quartiles of a whole batch, fails
where nothing is chosen, and writes tokens in the order of a; here quartiles are of one picture, one
token at least is chosen, and tokens stay where they were. A picture of several views counts as one.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from driftline_shared.models.compression.compressor import (
    Layers,
    Options,
    TokenCompressor,
    kept_count,
)
from driftline_shared.models.compression.rows.arrays import (
    Array,
    array_namespace,
    counted,
    found,
    largest_first,
    mask_of,
    plain,
    unit,
)
from driftline_shared.models.compression.rows.rows import TowerTokens

PUBLISHED_TOKENS, PUBLISHED_NEIGHBOURS = 576, 32

ADAPTIVE_SHARE, ADAPTIVE_SHARE_PLUS = 0.055, 0.25
"""Share of tokens left on average in the paper's `adaptive` runs, without and with `plus`."""


class PrumergeOptions(Options):
    """`keep`: by default what the paper's runs leave on average, 5.5 %, and 25 % with `plus`.

    `adaptive`: the attention's outliers instead of `keep`, which then only turns the method off at
    1. `outliers`: how many times q3 - q1 beyond q3 they are. `neighbours`: by default the published
    32, and of frames of fewer than 576 tokens as many in proportion: 32 of 16 would merge all.
    """

    keep: float = Field(default=ADAPTIVE_SHARE, gt=0.0, le=1.0)
    adaptive: bool = False
    plus: bool = False
    neighbours: int | None = Field(default=None, ge=0)
    outliers: float = Field(default=1.5, ge=0.0)
    update: Literal["code", "paper"] = "code"

    @model_validator(mode="before")
    @classmethod
    def _published(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("plus") and "keep" not in given:
            return given | {"keep": ADAPTIVE_SHARE_PLUS}
        return given

    def num_neighbours(self, num: int) -> int:
        """Of each token in a frame of `num`."""
        wanted = self.neighbours
        if wanted is None:
            share = PUBLISHED_NEIGHBOURS / PUBLISHED_TOKENS
            wanted = max(1, min(PUBLISHED_NEIGHBOURS, round(num * share)))
        return min(wanted, num - 1)


class PrumergeCompressor(TokenCompressor):
    """Prunes and merges tower tokens."""

    needs = frozenset({"attention", "keys"})
    options: PrumergeOptions

    def on_vision(self, tokens: TowerTokens, question: Array | None) -> TowerTokens:
        """Prune and merge each frame."""
        given = len(tokens.token)
        adaptive = self.options.adaptive and self.options.keep < 1.0
        if not adaptive and self.num_kept(given) == given:
            return tokens
        return TowerTokens.joined(
            [
                self._frame(part, budget)
                for part, budget in self.frame_budgets(tokens)
                if adaptive or budget
            ]
        )

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """round(keep V) tokens in every layer; for `adaptive`, the paper's average share."""
        share = self.options.keep
        if self.options.adaptive and share < 1.0:
            share = ADAPTIVE_SHARE_PLUS if self.options.plus else ADAPTIVE_SHARE
        return [kept_count(share, num_visual)] * self.facts.num_layers

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """Of each frame of n tokens, m of them kept: the class token's row of attention, 2 n D_v;
        cosines of keys, 2 m n D_v; sums over neighbours, 2 m |N| D_v; and of the rest, 2 n D_v. Of
        a tower without a class token, all rows, 2 n^2 D_v, are not counted.
        """
        frames, left = self.facts.grid.frames, layers[0].keys - num_text
        if left >= num_visual or not num_visual:
            return 0
        n, m = num_visual // frames, left // frames
        near = self.options.num_neighbours(max(1, n))
        return frames * 2 * self.facts.tower_width * (2 * n + m * (n + near))

    def _frame(self, tokens: TowerTokens, budget: int) -> TowerTokens:
        assert tokens.attention is not None and tokens.keys is not None, "`needs` says so"
        if not self.options.adaptive and budget >= len(tokens.token):
            return tokens
        xp, values = array_namespace(tokens.values), tokens.values
        weights = xp.astype(tokens.attention, values.dtype, copy=False)
        stays = mask_of(self._chosen(plain(weights), budget), len(tokens.token))
        kept, pruned = found(stays), found(~stays)
        merged = self._merged(values, weights, tokens.keys, kept)
        rest = weights[pruned] @ values[pruned]
        if self.options.update == "paper" and len(pruned):
            rest = rest / xp.sum(weights[pruned])
        sizes = tokens.size[stays]
        # A budget of one token has no place for the rest's.
        if len(pruned) and (self.options.adaptive or len(kept) < budget):
            merged = xp.concat([merged, rest[None]])
            kept = xp.concat([kept, pruned[:1]])
            sizes = xp.concat([sizes, xp.sum(tokens.size[pruned])[None]])
        return TowerTokens.bare(merged, tokens.token[kept], tokens.grid, sizes)

    def _chosen(self, attention: Array, budget: int) -> Array:
        """Indices of the tokens that stay themselves, in any order."""
        num, xp = len(attention), array_namespace(attention)
        order = largest_first(attention)
        if self.options.adaptive:
            low, high = _quantile(attention, 0.25), _quantile(attention, 0.75)
            limit = high + self.options.outliers * (high - low)
            num_top = max(1, int(xp.count_nonzero(attention > limit)))
            if not self.options.plus:
                return order[:num_top]
            step = max(1, num // num_top // 3)
            return xp.concat([order[:num_top], counted(num - 1, order)[::step]])
        left = budget if budget == 1 else min(budget - 1, num)
        num_top = (left + 1) // 2 if self.options.plus else left
        others = xp.sort(order[num_top:])
        num_more = left - num_top
        parts = counted(num_more, order)
        middle = (2 * parts + 1) * len(others) // max(2 * num_more, 1)
        return xp.concat([order[:num_top], others[middle]])

    def _merged(self, values: Array, weights: Array, keys: Array, kept: Array) -> Array:
        """(m, D_v): the tokens `kept` (m,) with their neighbours in them."""
        xp, rays = array_namespace(values), unit(plain(keys))
        alike = rays[kept] @ rays.T
        alike[counted(len(kept), kept), kept] = -xp.inf
        near = largest_first(alike)[:, : self.options.num_neighbours(len(keys))]
        shares = weights[near]
        added = xp.sum(shares[:, :, None] * values[near], axis=1)
        if self.options.update == "code":
            return values[kept] + added
        own = weights[kept][:, None]
        return (own * values[kept] + added) / (own + xp.sum(shares, axis=1, keepdims=True))


def _quantile(values: Array, share: float) -> Array:
    """Between the two values next to the place `share` (n - 1), as far as it lies between them."""
    order, xp = array_namespace(values).sort(values), array_namespace(values)
    place = share * (len(values) - 1)
    low = order[int(place)]
    high = order[min(int(place) + 1, len(values) - 1)]
    return low + xp.astype(high - low, values.dtype) * (place - int(place))
