"""FastV: behind layer K the visual tokens that the last token attends to least are dropped.

    a_j = mean over heads of A_{K-1}[last, j],  j visual;   keep the n = keep V largest

Source: FastV (arXiv 2403.06764), section 4, in its form with a key-value cache: survivors keep
their positions, and layers K.. as well as all decoding read the reduced set. The public cache
version runs layer K-1 twice and so caches it twice; here its one attention row is computed beside
the fused kernel.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from driftline_shared.models.compression.compressor import (
    LayerCount,
    Options,
    TokenCompressor,
    kept_count,
)
from driftline_shared.models.compression.rows.rows import TokenRow


class FastvOptions(Options):
    """`layer`: K, the first layer that reads fewer tokens; never past the last one."""

    layer: int = Field(default=2, ge=1)

    def first_layer(self, num_layers: int) -> int:
        """K for a model of this depth."""
        return max(1, min(self.layer, num_layers - 1))


class FastvCompressor(TokenCompressor):
    """Drops visual tokens once, by one row of attention."""

    options: FastvOptions

    def rows_before(self, layer: int, row: TokenRow) -> Tensor | None:
        """The last place, before layer K."""
        return torch.tensor([len(row) - 1], device=row.kind.device) if self._cuts(layer) else None

    def on_layer(self, layer: int, row: TokenRow, attention: Tensor | None) -> TokenRow:
        """The visual tokens of most attention, and all else."""
        if attention is None:
            return row
        scores = attention[0, row.visual]
        number = kept_count(self.options.keep, len(scores))
        return row.keep_visual(scores.topk(number).indices)

    def schedule(self, num_text: int, num_visual: int, num_other: int = 0) -> list[LayerCount]:
        """x + V below K, x + keep V from there on."""
        all_places = super().schedule(num_text, num_visual, num_other)
        fewer = super().schedule(num_text, kept_count(self.options.keep, num_visual), num_other)
        first = self.options.first_layer(self.facts.num_layers)
        return all_places[:first] + fewer[first:]

    def _cuts(self, layer: int) -> bool:
        return self.options.keep < 1.0 and layer == self.options.first_layer(self.facts.num_layers)
