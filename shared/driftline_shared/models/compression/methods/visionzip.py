"""VisionZip: keep the tokens the tower looks at most, and merge the others by their keys.

Yang et al. (arXiv 2412.04467), section 3, in the form of the public code, which made the published
numbers. Of each picture, or each frame of a clip: n tokens x, as one layer of the tower gives them;
a, the attention paid to each by the class token in that layer, summed over heads (by all tokens on
average where there is none); k, its keys, mean over heads.

    dominant     the tokens of largest a stay as they are
    targets      of the m others, in their order, every s-th from the first on, s = max(1, m // c),
                 until there are c
    contextual   x_t + mean of x_j over those of the others that are no target and whose k_j has its
                 largest cosine with k_t; x_t itself where there is none

`keep` is the share of tokens that come out, exactly; of those c = round(10 / 64 of them), as in all
published budgets (54 + 10, 108 + 20, 162 + 30), are contextual.

The code lets the class token come out as one of the dominant ones; here places are of cells, so a
patch more stays instead. It writes dominant tokens first and contextual ones behind them, here all
stand where they were. The text calls the merge an average; in the code the target is added whole to
the mean of the others. A picture of several views counts as one.
"""

from __future__ import annotations

from pydantic import Field

from driftline_shared.models.compression.compressor import Layers, Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import (
    Array,
    added,
    array_namespace,
    bincount,
    counted,
    filled,
    largest_first,
    mask_of,
    plain,
    unit,
)
from driftline_shared.models.compression.rows.rows import TowerTokens


class VisionZipOptions(Options):
    """`keep`: by default the 64 of 576 tokens of the paper's smallest budget and of the code's
    example. `contextual`: the share of them that is merged.
    """

    keep: float = Field(default=64 / 576, gt=0.0, le=1.0)
    contextual: float = Field(default=10 / 64, ge=0.0, lt=1.0)


class VisionZipCompressor(TokenCompressor):
    """Prunes and merges tower tokens."""

    needs = frozenset({"head_attention", "head_keys"})
    options: VisionZipOptions

    def on_vision(self, tokens: TowerTokens, question: Array | None) -> TowerTokens:
        """Prune and merge each frame."""
        given = len(tokens.token)
        if self.num_kept(given) == given:
            return tokens
        return TowerTokens.joined(
            [self._frame(part, budget) for part, budget in self.frame_budgets(tokens) if budget]
        )

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """round(keep V) tokens in every layer."""
        return [self.num_kept(num_visual)] * self.facts.num_layers

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """Of each frame: the class token's row of attention, 2 n D_v; cosines of keys of one head's
        width d_h to c targets, 2 c m d_h; sums of m tokens, m D_v. Of a tower without a class
        token, all rows, 2 n^2 D_v, are not counted.
        """
        budget = self.num_kept(num_visual)
        if budget == num_visual:
            return 0
        merged = self._contextual(budget)
        others = num_visual - budget + merged
        frames, width = self.facts.grid.frames, self.facts.tower_width
        keys = 2 * merged * others * (width // self.facts.tower_heads) // frames
        return 2 * num_visual * width + keys + others * width

    def _contextual(self, budget: int) -> int:
        return round(self.options.contextual * budget)

    def _frame(self, tokens: TowerTokens, budget: int) -> TowerTokens:
        assert tokens.head_attention is not None and tokens.head_keys is not None, "`needs` says so"
        num = len(tokens.token)
        if budget >= num:
            return tokens
        xp = array_namespace(tokens.values)
        num_merged = self._contextual(budget)
        order = largest_first(xp.sum(plain(tokens.head_attention), axis=1))
        dominant = order[: budget - num_merged]
        others = xp.sort(order[budget - num_merged :])
        step = max(1, len(others) // max(num_merged, 1))
        is_target = mask_of(counted(num_merged, others) * step, len(others))
        targets, merged = others[is_target], others[~is_target]
        values, sizes = tokens.values, tokens.size
        if num_merged:
            sums, taken = self._means(tokens, targets, merged)
            values, sizes = added(values, targets, sums), added(sizes, targets, taken)
        kept = xp.concat([dominant, targets])
        return TowerTokens.bare(values[kept], tokens.token[kept], tokens.grid, sizes[kept])

    def _means(self, tokens: TowerTokens, targets: Array, merged: Array) -> tuple[Array, Array]:
        """(c, D_v) mean of the tokens that each target takes in, 0 of none, and (c,) their size."""
        assert tokens.head_keys is not None, "`needs` says so"
        xp, keys, num = array_namespace(tokens.values), plain(tokens.head_keys), len(targets)
        rays = unit(xp.mean(xp.reshape(keys, (len(keys), self.facts.tower_heads, -1)), axis=1))
        member = xp.argmax(rays[merged] @ rays[targets].T, axis=1)
        empty = filled((num, tokens.values.shape[1]), 0.0, tokens.values)
        sums = added(empty, member, tokens.values[merged])
        times = xp.clip(bincount(member, num), 1, None)
        sizes = added(filled(num, 0.0, tokens.size), member, tokens.size[merged])
        return sums / xp.astype(times, sums.dtype)[:, None], sizes
