"""FastV: behind layer K the visual tokens that are attended to least are dropped.

    a_j = mean over heads of A_{K-1}[last, j],  j visual;   keep the n = floor(keep V) largest

Source: FastV (arXiv 2403.06764), section 4, in its form with a key-value cache: survivors keep
their positions, and layers K.. as well as all decoding read the reduced set. The public cache
version runs layer K-1 twice and so caches it twice; here its attention rows are computed beside
the fused kernel.

Section 4.1 ranks a token by the attention that it receives from *all* tokens, on average; the
public code, which made the numbers, by the last token's alone, and so does this by default.
`criterion` = all is the text's: every row of the layer's attention, which costs what a layer
without a fused kernel does. The code cuts the number kept to a whole one, not below one here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from driftline_shared.models.compression import flops
from driftline_shared.models.compression.compressor import Layers, Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import (
    Array,
    array_namespace,
    counted,
    largest_first,
)
from driftline_shared.models.compression.rows.rows import TokenRow

ROUNDING = 1e-9
"""Keeps 0.29 * 100 = 28.999.. at 29 when it is cut to an integer."""


class FastvOptions(Options):
    """`keep`: 1 - R, by default the paper's R = 50 %. `layer`: K, the paper's 2, the first layer
    that reads fewer tokens; never past the last one. `criterion`: whose attention counts.
    """

    layer: int = Field(default=2, ge=1)
    criterion: Literal["last", "all"] = "last"

    def first_layer(self, num_layers: int) -> int:
        """K for a model of this depth."""
        return max(1, min(self.layer, num_layers - 1))

    def num_kept(self, num: int) -> int:
        """n, of `num` visual tokens."""
        return min(num, max(1, int(self.keep * num + ROUNDING)))


class FastvCompressor(TokenCompressor):
    """Drops visual tokens once, by attention."""

    options: FastvOptions

    def rows_before(self, layer: int, row: TokenRow) -> Array | None:
        """The last place, or all, before layer K."""
        if not self._cuts(layer):
            return None
        first = 0 if self.options.criterion == "all" else len(row) - 1
        return counted(len(row), row.kind)[first:]

    def on_layer(self, layer: int, row: TokenRow, attention: Array | None) -> TokenRow:
        """The visual tokens of most attention, and all else."""
        if attention is None:
            return row
        scores = array_namespace(attention).mean(attention, axis=0)[row.visual]
        return row.keep_visual(largest_first(scores)[: self.options.num_kept(len(scores))])

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """V below K, floor(keep V) from there on."""
        depth, kept = self.facts.num_layers, self.options.num_kept(num_visual)
        first = self.options.first_layer(depth)
        return [num_visual] * first + [kept] * (depth - first)

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """The rows of attention before layer K."""
        return sum(
            flops.row_flops(
                self.facts, before.keys if self.options.criterion == "all" else 1, before.keys
            )
            for before, _ in flops.cuts(layers)
        )

    def _cuts(self, layer: int) -> bool:
        return self.options.keep < 1.0 and layer == self.options.first_layer(self.facts.num_layers)
