"""DART: behind layer K the visual tokens stay that repeat a few pivots least.

Wen et al., "Stop Looking for Important Tokens" (arXiv 2502.11494), in the form of the public code.
V visual tokens and the text behind the image enter layer K; k_j are the keys that layer K - 1 has
cached, rotary and all heads; x_j the states behind the model's final norm.

    pivots     the P_i visual and the P_t text tokens of largest |k_j|_1
    one pivot  after another, visual ones first, each kind by place: it takes the tokens left of
               least cos(x_pivot, x_j)
    stay       the visual pivots and what all pivots took, at their positions

How many one takes: with n = round(keep V) tokens to stay, the n - P_i that are no pivots are dealt
out evenly, the first pivots taking one more where they do not divide. `exact` = false is the code:
each takes floor(keep V / (P_i + P_t)), so that up to P_i tokens more than keep V stay, or some
fewer: of 64 tokens at a quarter 20. The paper speaks of a threshold of likeness that gives the
number wanted; no public code has one. The code goes through pivots in the order of a Python set,
which is that of hashed numbers; here in that of places. It fails for fewer tokens than pivots.
"""

from __future__ import annotations

from pydantic import Field

from driftline_shared.models.compression import flops
from driftline_shared.models.compression.compressor import (
    LayerLook,
    Layers,
    Options,
    TokenCompressor,
)
from driftline_shared.models.compression.rows.arrays import (
    Array,
    array_namespace,
    found,
    largest_first,
    mask_of,
    plain,
    unit,
)
from driftline_shared.models.compression.rows.rows import TokenRow

ROUNDING = 1e-9
"""Keeps 0.29 * 100 = 28.999.. at 29 when it is cut to an integer."""


class DartOptions(Options):
    """`keep`: the share of visual tokens that stays behind K, by default the 128 of 576 of the
    authors' scripts. `layer`: K, theirs 2, the first that reads fewer tokens; never past the last
    one. `image_pivots`, `text_pivots`: P_i and P_t. `exact`: whether exactly `keep` stay.
    """

    keep: float = Field(default=128 / 576, gt=0.0, le=1.0)
    layer: int = Field(default=2, ge=1)
    image_pivots: int = Field(default=4, ge=1)
    text_pivots: int = Field(default=4, ge=0)
    exact: bool = True

    def first_layer(self, num_layers: int) -> int:
        """K for a model of this depth."""
        return max(1, min(self.layer, num_layers - 1))

    def shares(self, num: int, num_text: int) -> tuple[int, list[int]]:
        """Visual pivots among `num` tokens, and how many tokens each pivot takes; `num_text`: of
        text behind the image.
        """
        total = max(1, min(num, round(self.keep * num)))
        own = min(self.image_pivots, total if self.exact else num)
        pivots = own + min(self.text_pivots, num_text)
        if not self.exact:
            wanted = self.image_pivots + self.text_pivots
            return own, [int(self.keep * num / wanted + ROUNDING)] * pivots
        every, more = divmod(total - own, pivots)
        return own, [every + (number < more) for number in range(pivots)]


class DartCompressor(TokenCompressor):
    """Drops visual tokens once, by what they repeat."""

    options: DartOptions

    def on_input(self, layer: int, row: TokenRow, look: LayerLook) -> TokenRow:
        """At K: the pivots among the visual tokens, and those least like any pivot."""
        if self.options.keep >= 1.0 or not len(row.visual):
            return row
        if layer != self.options.first_layer(self.facts.num_layers):
            return row
        visual, question = row.visual, row.question
        own, shares = self.options.shares(len(visual), len(question))
        xp = array_namespace(row.states)
        lengths = xp.sum(xp.abs(plain(look.keys_before)), axis=(0, 2))
        first = _largest(lengths[visual], own)
        asked = question[_largest(lengths[question], len(shares) - own)]
        rays = unit(plain(look.normed()))
        taken = mask_of(first, len(visual))
        pivots = xp.concat([visual[first], asked])
        for likeness, share in zip(rays[pivots] @ rays[visual].T, shares, strict=True):
            order = xp.argsort(xp.where(taken, xp.inf, likeness), stable=True)
            num_free = len(taken) - int(xp.sum(taken))
            taken[order[: min(share, num_free)]] = True
        return row.keep_visual(found(taken))

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """V below K; n from there on, or what the pivots take, with all pivots of text there."""
        depth, kept = self.facts.num_layers, num_visual
        first = self.options.first_layer(depth)
        if self.options.keep < 1.0 and num_visual:
            own, shares = self.options.shares(num_visual, num_text)
            kept = min(num_visual, own + sum(shares))
        return [num_visual] * first + [kept] * (depth - first)

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """Sums of n keys, and a row of V cosines for each pivot, 2 V d."""
        cut = flops.cuts(layers)
        if not cut:
            return 0
        pivots = self.options.image_pivots + self.options.text_pivots
        keys = cut[0][0].keys * self.facts.num_key_heads * self.facts.head_width
        return keys + 2 * pivots * num_visual * self.facts.width


def _largest(values: Array, num: int) -> Array:
    """(num,) rising indices of the largest values, of equal ones the first."""
    return array_namespace(values).sort(largest_first(values)[:num])
