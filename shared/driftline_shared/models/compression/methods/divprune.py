"""DivPrune: the visual tokens that stay are those that differ most from one another.

Alvar et al., "DivPrune" (arXiv 2503.02175), section 3: a max-min diversity problem, solved
greedily. V tokens e, projected, before the language model; n = round(keep V) of them stay:

    d(i, j)    = 1 - cos(e_i, e_j)
    first      argmax_i of min over j != i of d(i, j)
    then       argmax_i of min over j chosen of d(i, j), n - 1 times

The public code takes the second smallest of a token's distances, its own included, for the first
token: the same, but for rounding. Where several are equally far the earlier wins here; and where
all that is left equals something chosen, what was chosen is not chosen again, as it may be there.
That code counts the survivors' positions anew, being applied before the row is numbered; here they
keep their places. A clip's frames are one set of tokens, as a picture's views are.
"""

from __future__ import annotations

from pydantic import Field

from driftline_shared.models.compression.compressor import Layers, Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import (
    Array,
    array_namespace,
    counted,
    device,
    first_largest,
    plain,
    unit,
)
from driftline_shared.models.compression.rows.rows import TokenRow

_ROWS_AT_ONCE = 1024

_ROUNDING = 1e-6
"""Two tokens that are each other's nearest are equally far, and the last bits must not decide."""


class DivPruneOptions(Options):
    """`keep`: the share of tokens that stays, by default the 9.8 % of the authors' script, which
    leaves 15 % of LLaVA-1.5's FLOPs.
    """

    keep: float = Field(default=0.098, gt=0.0, le=1.0)


class DivPruneCompressor(TokenCompressor):
    """Drops visual tokens of the row of embeddings; separators and text stay where they are."""

    options: DivPruneOptions

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """The tokens furthest from each other."""
        num = len(row.visual)
        if self.num_kept(num) == num:
            return row
        return row.keep_visual(_furthest(row.states[row.visual], self.num_kept(num)))

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """round(keep V) in every layer."""
        return [self.num_kept(num_visual)] * self.facts.num_layers

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """All cosines for the first token, 2 V^2 d, and a row of them for each that follows."""
        if self.num_kept(num_visual) == num_visual:
            return 0
        return 2 * num_visual * self.facts.width * (num_visual + self.num_kept(num_visual))


def _furthest(tokens: Array, num: int) -> Array:
    """(num,) indices of `tokens` (V, D) in the order in which they were chosen."""
    rays, xp = unit(plain(tokens)), array_namespace(tokens)
    # By rows, and one row at a time after that: a clip's whole matrix may not fit.
    nearest = xp.concat([_to_others(rays, at) for at in range(0, len(rays), _ROWS_AT_ONCE)])
    chosen = [int(first_largest(nearest, _ROUNDING))]
    distance = 1 - rays @ rays[chosen[0]]
    while len(chosen) < num:
        distance[chosen[-1]] = -xp.inf
        chosen.append(int(first_largest(distance, _ROUNDING)))
        distance = xp.minimum(distance, 1 - rays @ rays[chosen[-1]])
    return xp.asarray(chosen, device=device(tokens))


def _to_others(rays: Array, start: int) -> Array:
    """(r,) the distance of each token of a block to the nearest other one."""
    xp = array_namespace(rays)
    block = 1 - rays[start : start + _ROWS_AT_ONCE] @ rays.T
    own = counted(len(block), rays)
    block[own, own + start] = xp.inf
    return xp.min(block, axis=1)
