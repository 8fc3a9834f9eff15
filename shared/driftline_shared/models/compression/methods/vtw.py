"""VTW, visual tokens withdrawal: from layer K on only text is read.

    layers 0..K-1 read the whole row;   layers K.. and decoding behind them read its text

Source: VTW (arXiv 2405.05803), section 4: everything of the image goes at the input of layer K,
its separators as well, and text keeps its positions (the public code's `pe_type="keep"`;
`renumber` is its other mode).

K is chosen on a few samples: `withdrawal.py`.
"""

from __future__ import annotations

from pydantic import Field

from driftline_shared.models.compression.compressor import LayerCount, Options, TokenCompressor
from driftline_shared.models.compression.rows.arrays import Array
from driftline_shared.models.compression.rows.rows import TokenRow


class VtwOptions(Options):
    """`layer`: K. Where it is not given, `keep` says it: visual tokens per layer, on average over
    the layers, as a share of all, K = round(keep L); by default 15 of 32 layers, the paper's. With
    `keep` = 1 the image stays. `renumber`: text gets positions without gaps.
    """

    keep: float = Field(default=15 / 32, gt=0.0, le=1.0)
    layer: int | None = Field(default=None, ge=1)
    renumber: bool = False

    def first_layer(self, num_layers: int) -> int:
        """K for a model of this depth; the depth itself: never."""
        if self.keep >= 1.0:
            return num_layers
        if self.layer is not None:
            return min(self.layer, num_layers)
        return max(1, min(round(self.keep * num_layers), num_layers - 1))


class VtwCompressor(TokenCompressor):
    """Withdraws the image once."""

    options: VtwOptions

    def on_layer(self, layer: int, row: TokenRow, attention: Array | None) -> TokenRow:
        """Text alone at layer K."""
        if layer != self.options.first_layer(self.facts.num_layers):
            return row
        text = row.take(row.text)
        return text.renumbered() if self.options.renumber else text

    def schedule(self, num_text: int, num_visual: int, num_other: int = 0) -> list[LayerCount]:
        """x + V below K, x from there on."""
        first = self.options.first_layer(self.facts.num_layers)
        whole = super().schedule(num_text, num_visual, num_other)
        return whole[:first] + super().schedule(num_text, 0)[first:]
