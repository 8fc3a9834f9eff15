"""PyramidDrop: stage by stage fewer visual tokens, those the last token attends to least dropped.

Xing et al. (arXiv 2410.17247), section 3, in the form of the public code. The layers are parted
into S stages; before the first layer l of each but the first stage,

    a_j = mean over heads of A_l[last, j],  j visual;   the floor(lambda^s V) largest stay

with s = 1 .. S - 1, V the visual tokens of the whole image, A_l the attention that l itself would
pay, from its own projections of its input, and *last* the last token of the prompt.

`keep` is what the last stage holds, lambda^(S - 1), so that lambda = keep^(1 / (S - 1)); a stage
holds one token at least. The code counts positions anew behind every cut, over all that is left,
and so does this by default; the text does not say. `renumber` = false leaves survivors theirs.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression import flops
from driftline_shared.models.compression.compressor import (
    LayerLook,
    Layers,
    Options,
    TokenCompressor,
)
from driftline_shared.models.compression.rows.arrays import counted, largest_first, plain
from driftline_shared.models.compression.rows.rows import TokenRow

ROUNDING = 1e-9
"""Keeps 0.29 * 100 = 28.999.. at 29 when it is cut to an integer."""


class PyramidDropOptions(Options):
    """`keep`: by default 1/8, of lambda = 0.5 and four stages. `stages`: S, of as many layers each
    as whole numbers allow. `layers`: the first layer of each stage but the first, instead; the
    public LLaVA-1.5-7B takes 8, 16 and 24 of 32. `renumber`: whether positions are counted anew.
    """

    keep: float = Field(default=0.125, gt=0.0, le=1.0)
    stages: int = Field(default=4, ge=2)
    layers: tuple[int, ...] | None = None
    renumber: bool = True


class PyramidDropCompressor(TokenCompressor):
    """Drops visual tokens at the first layer of each stage."""

    options: PyramidDropOptions

    def __init__(self, *rest: Any) -> None:
        """Raises ConfigError for layers that do not fit the model."""
        super().__init__(*rest)
        self._layers = _cuts(self.options, self.facts.num_layers)
        self._num: int | None = None

    def on_input(self, layer: int, row: TokenRow, look: LayerLook) -> TokenRow:
        """At the first layer of a stage: the tokens of most attention, and all else."""
        visual = row.visual
        if self._num is None:
            self._num = len(visual)
        if self.options.keep >= 1.0 or layer not in self._layers or not len(visual):
            return row
        kept = self._kept(self._layers.index(layer) + 1, self._num)
        if kept >= len(visual):
            return row
        seen = plain(look.attention(counted(len(row), row.kind)[-1:]))[0, visual]
        row = row.keep_visual(largest_first(seen)[:kept])
        return row.renumbered() if self.options.renumber else row

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """floor(lambda^s V) in the layers of stage s."""
        counts, stage = [], 0
        for layer in range(self.facts.num_layers):
            stage += layer in self._layers
            counts.append(self._kept(stage, num_visual))
        return counts

    def narrowing_layers(self, num_visual: int) -> tuple[int, ...]:
        """The first layer of every stage but the first: another number may leave more stages
        different.
        """
        return self._layers if self.options.keep < 1.0 and num_visual else ()

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """Before each cut keys of all n places, 2 n d k, and one row of attention."""
        width = self.facts.num_key_heads * self.facts.head_width
        return sum(
            2 * before.keys * self.facts.width * width + flops.row_flops(self.facts, 1, before.keys)
            for before, _ in flops.cuts(layers)
        )

    def _kept(self, stage: int, num: int) -> int:
        if self.options.keep >= 1.0 or not stage or not num:
            return num
        return max(1, int(self.options.keep ** (stage / len(self._layers)) * num + ROUNDING))


def _cuts(options: PyramidDropOptions, depth: int) -> tuple[int, ...]:
    """The first layers of all stages but the first."""
    if options.layers is None:
        even = {depth * stage // options.stages for stage in range(1, options.stages)}
        return tuple(sorted(even - {0})) or (max(1, depth - 1),)
    layers = options.layers
    if (
        not layers
        or list(layers) != sorted(set(layers))
        or not 1 <= layers[0] <= layers[-1] < depth
    ):
        raise ConfigError(
            f"compressor pyramiddrop: layers is {list(layers)}; give rising layers from 1 to "
            f"{depth - 1}, the last of this model"
        )
    return layers
