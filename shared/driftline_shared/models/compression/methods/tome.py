"""ToMe: merge the most alike patches, a few in every block of the tower.

Bolya et al. (arXiv 2210.09461), section 3. In each block, between attention and MLP:

    k_i = the block's keys of token i, mean over heads, of length 1
    A = tokens at even places, B = at odd places;  s_i = max over j in B of k_i . k_j   for i in A
    the r tokens of A with the largest s_i go into their j:   x_j <- sum(size x) / sum(size)

A token of size m stands for m patches, and later blocks' attention weighs it so (proportional
attention): softmax(q k^T / sqrt(d) + log size). The class token, and patches of padding, which are
no visual tokens, are never merged. What is left keeps the order [rest of A, B] within the tower, as
the paper has it, and is sorted by the smallest index of its members before the projector.

r follows from `keep`: of n tokens of a view, n - round(keep n) are merged over the L blocks that
tokens pass. The share of them that is gone after block l is the integral of the paper's schedule,
r(1 - i) in the first block to r(1 + i) in the last for `inflection` i, and r in all for i = 0:

    W_l = sum of w_0..w_l / sum of all w,    w_l = 1 - i + 2 i l / (L - 1)

A block merges half of its tokens at most; what is then too many is merged once they are sorted, as
`where` = projector merges all: in rounds of the same matching, on the tokens themselves, since
what stands before a projector need not have keys. That needs no transformer, and works within each
frame of a clip, whose tokens are pooled patches; it is what `where` = None falls back to.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from driftline_shared.models.compression.compressor import Layers, Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import (
    Array,
    added,
    array_namespace,
    counted,
    filled,
    first_largest,
    largest_first,
    mask_of,
    plain,
    ranked,
    smallest,
    unit,
    with_rows,
)
from driftline_shared.models.compression.rows.rows import NONE, BlockTokens, TowerTokens

_ROUNDING = 1e-5
"""Cosines that are as near are alike."""


class TomeOptions(Options):
    """`keep`: share of tokens left; the paper gives r per block, no share. `where`: see above;
    None: in the tower where it can be driven block by block, else before the projector.
    `proportional`: weigh attention by sizes.
    """

    where: Literal["tower", "projector"] | None = None
    proportional: bool = True
    inflection: float = Field(default=0.0, ge=-1.0, le=1.0)


class TomeCompressor(TokenCompressor):
    """Merges tokens by bipartite matching."""

    options: TomeOptions

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        # Tokens of views before this one, and what is to be left of this one.
        self._seen = 0
        self._given = 0
        self._goal = 0

    @property
    def blocks(self) -> Literal["unused", "wanted", "required"]:
        """Unused where nothing is merged."""
        if self.options.keep >= 1.0 or self.options.where == "projector":
            return "unused"
        return "required" if self.options.where == "tower" else "wanted"

    def block_bias(self, tokens: BlockTokens) -> Array | None:
        """log(size) of each token."""
        xp = array_namespace(tokens.size)
        if not self.options.proportional or bool(xp.all(tokens.size == 1)):
            return None
        return xp.log(tokens.size)

    def on_block(self, block: int, num_blocks: int, tokens: BlockTokens) -> BlockTokens:
        """Merge as many tokens as the schedule has merged by the end of this block."""
        mergeable = tokens.token != NONE
        num = int(array_namespace(mergeable).count_nonzero(mergeable))
        if block == 0:
            self._given, self._goal = num, self._of(num)
        over = self._given - self._goal
        left = self._given - round(over * self._done(block, num_blocks))
        merging = matching(tokens.keys, mergeable, num - left)
        return replace(
            tokens,
            states=merging.means(tokens.states, tokens.size),
            keys=merging.means(tokens.keys, tokens.size),
            size=merging.sums(tokens.size),
            token=merging.first(tokens.token),
        )

    def on_vision(self, tokens: TowerTokens, question: Array | None) -> TowerTokens:
        """Merge within each frame, and across frames what their rounding left over."""
        given = _total(tokens)
        goal = self.num_kept(given)
        if len(tokens.token) <= goal:
            return tokens
        self._seen = 0
        parts = [_merged(part, self._of(_total(part))) for part in tokens.by_frame()]
        return _merged(TowerTokens.joined(parts), goal)

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """round(keep V) tokens in every layer."""
        return [self.num_kept(num_visual)] * self.facts.num_layers

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """Matching, 2 d (n / 2)^2 of n tokens a block and d the width of a head, of one view that
        the tower is driven through block by block; else of each frame's rounds, d = D_v. Merging
        itself adds each token once, and is left out; so is what the tower saves.
        """
        facts, num = self.facts, num_visual // self.facts.grid.frames
        goal = self.num_kept(num)
        if num <= goal:
            return 0
        if facts.tower_blocks and facts.grid.frames == 1 and self.options.where != "projector":
            over, blocks = num - goal, facts.tower_blocks
            sizes = [
                num - round(over * self._done(block - 1, blocks)) if block else num
                for block in range(blocks)
            ]
            width = facts.tower_width // facts.tower_heads
        else:
            sizes, width = [num], facts.tower_width
            while (left := sizes[-1] - min(sizes[-1] // 2, sizes[-1] - goal)) > goal:
                sizes.append(left)
        return facts.grid.frames * sum(2 * width * (n // 2) * ((n + 1) // 2) for n in sizes)

    def _of(self, num: int) -> int:
        """How many of the next `num` tokens stay, so that all views' together are round(keep V)."""
        goal = self.num_kept(self._seen + num) - self.num_kept(self._seen)
        self._seen += num
        return min(num, max(1, goal)) if num else 0

    def _done(self, block: int, num_blocks: int) -> float:
        """W of the block."""
        slope = self.options.inflection
        weights = [
            1 - slope + 2 * slope * number / max(num_blocks - 1, 1) for number in range(num_blocks)
        ]
        # A single block of inflection 1 has no weight.
        return sum(weights[: block + 1]) / sum(weights) if block + 1 < num_blocks else 1.0


@dataclass(frozen=True, kw_only=True)
class Merging:
    """`into` (n,) int64: the place of each token among the m that are left."""

    into: Array
    num: int

    def sums(self, values: Array) -> Array:
        """(n, ...) -> (m, ...)."""
        return added(filled((self.num, *values.shape[1:]), 0, values), self.into, values)

    def means(self, values: Array, size: Array) -> Array:
        """(n, D) -> (m, D): means weighted by `size` (n,)."""
        weights = array_namespace(size).astype(size, values.dtype, copy=False)
        return self.sums(values * weights[:, None]) / self.sums(weights)[:, None]

    def first(self, token: Array) -> Array:
        """(n,) -> (m,): the smallest of each."""
        return smallest(token, self.into, self.num)


def matching(metric: Array, mergeable: Array, num: int) -> Merging:
    """Merge `num` tokens at even places into their best at odd ones, or as many as can be.

    `metric` (n, d); `mergeable` (n,) bool.
    """
    xp, places = array_namespace(metric), counted(len(metric), metric)
    even, odd = places[::2], places[1::2]
    can = int(xp.count_nonzero(mergeable[even])) if bool(xp.any(mergeable[odd])) else 0
    num = min(num, can)
    if num <= 0:
        return Merging(into=places, num=len(places))
    rays = unit(plain(metric))
    # Tokens that are the same are so but for rounding, which must not choose among them.
    scores = xp.where(mergeable[even][:, None] & mergeable[odd], rays[even] @ rays[odd].T, -2.0)
    best, partner = xp.max(scores, axis=-1), first_largest(scores, _ROUNDING)
    gone = mask_of(largest_first(ranked(best, _ROUNDING))[:num], len(even))
    num_rest = len(even) - num
    into = with_rows(places, odd, num_rest + counted(len(odd), odd))
    into = with_rows(into, even[~gone], counted(num_rest, odd))
    into = with_rows(into, even[gone], num_rest + partner[gone])
    return Merging(into=into, num=num_rest + len(odd))


def _merged(tokens: TowerTokens, goal: int) -> TowerTokens:
    """`goal` tokens, merged in rounds by their values and sorted."""
    values, token, size = tokens.values, tokens.token, tokens.size
    while len(token) > goal:
        every = filled(len(token), True, token, array_namespace(token).bool)
        merging = matching(values, every, len(token) - goal)
        values, size, token = merging.means(values, size), merging.sums(size), merging.first(token)
    return TowerTokens.bare(values, token, tokens.grid, size)


def _total(tokens: TowerTokens) -> int:
    """How many tokens of the tower they stand for."""
    return round(float(array_namespace(tokens.size).sum(tokens.size)))
