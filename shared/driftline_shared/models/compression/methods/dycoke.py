"""DyCoke: drop a clip's tokens that stay the same; read the rest of the cache only where it counts.

Tao et al., DyCoke, arXiv 2411.15024. Stage 1 (temporal token merging, which drops and averages
nothing) takes from windows of four frames the tokens most like those at the same place in an
earlier frame. Stage 2 leaves the cache whole and chooses, while decoding, which visual tokens the
deeper layers read.

Which form this is: the paper's, except that decoding takes the attention of layer L - 1, as the
public code does, where the paper says layer L: so it is there before L reads. Where the code
differs otherwise it is at fault: it spares the third frame of the last window, loses an odd last
frame, fails up to four frames, leaves kept tokens unsorted, and reads the whole cache where the
paper reuses the last choice.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import (
    LayerCount,
    Layers,
    Options,
    TokenCompressor,
)
from driftline_shared.models.compression.rows.arrays import (
    Array,
    array_namespace,
    bincount,
    found,
    largest_first,
    plain,
    unit,
)
from driftline_shared.models.compression.rows.rows import TokenRow

WINDOW = 4
COMPARED_WITH = (None, 0, 0, 2)
"""The frame of the window each of its frames is compared with; the first stays whole."""

DEFAULT_LAYER = 3

ROUNDING = 1e-9
"""Keeps (1 - 0.9) * 10 = 0.999.. at 1 when it is cut to an integer."""

STILL = 1e-6
"""What differs by less is the same: of like tokens rounding alone would decide."""


class DyCokeOptions(Options):
    """Options of DyCoke.

    `keep`: share of visual tokens behind stage 1, by default that of the paper's K = 0.7. `merge`:
    the paper's K, share of tokens that a compared frame loses; by default what makes `keep`, which
    needs whole frames for a quarter, so that K = 1 below 0.25. `prune`: P, share of the remaining
    visual tokens that a decoding step does not read from `layer` on (L, 3 or the model's last).
    `threshold`: the cosine of two steps' attention at and above which the last choice is used
    again.
    """

    keep: float = Field(default=0.475, gt=0.0, le=1.0)
    merge: float | None = Field(default=None, ge=0.0, le=1.0)
    prune: float = Field(default=0.7, ge=0.0, lt=1.0)
    layer: int | None = Field(default=None, ge=1)
    threshold: float = Field(default=0.9, ge=-1.0, le=1.0)


class DyCokeCompressor(TokenCompressor):
    """Both stages for one row, with what stage 2 chose last."""

    options: DyCokeOptions

    def __init__(self, *rest: Any) -> None:
        """Raises ConfigError for a layer that the model does not have."""
        super().__init__(*rest)
        options, last = self.options, self.facts.num_layers - 1
        if options.layer is not None and options.layer > last:
            raise ConfigError(
                f"compressor dycoke: layer is {options.layer}; this model's last is {last}"
            )
        self._layer = min(DEFAULT_LAYER, max(1, last)) if options.layer is None else options.layer
        self._prunes = options.keep < 1.0 and options.prune > 0.0
        self._last_attention: Array | None = None
        self._chosen: Array | None = None

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """Stage 1: in windows f0..f3 of the frames present, keep f0, of f1 the int((1 - K) M)
        tokens of least cosine to f0's at the same place, of f3 as many by f2, of f2 by f0.

        A shorter last window follows the same rule as far as it goes. Where the place is empty in
        the earlier frame, a token is like nothing and stays first.
        """
        if self.options.keep >= 1.0 or not len(row.visual):
            return row
        xp = array_namespace(row.states)
        frames, frame = xp.unique_inverse(row.frame)
        counts = self._kept_of_frames([int(size) for size in bincount(frame, len(frames))])
        rays, cells = unit(plain(row.states[row.visual])), row.cell
        kept = []
        for index in range(len(frames)):
            members = found(frame == index)
            against = COMPARED_WITH[index % WINDOW]
            if against is not None:
                earlier = found(frame == index - index % WINDOW + against)
                likeness = _likeness(rays, cells, members, earlier)
                least = xp.argsort(likeness, stable=True)[: counts[index]]
                members = members[least]
            kept.append(members)
        return row.keep_visual(xp.concat(kept))

    def decode_row_before(self, layer: int) -> bool:
        """At L, where the visual tokens to read are chosen."""
        return self._prunes and layer == self._layer

    def on_decode(
        self, step: int, layer: int, cached: TokenRow, attention: Array | None
    ) -> Array | None:
        """Stage 2: from L on, text and the int((1 - P) N) visual tokens of most attention.

        The choice of the last step stays while cos(a_t, a_(t-1)) >= `threshold`, a_t the new
        token's attention in layer L - 1 to the N visual tokens; else it is made anew.
        """
        if not self._prunes or layer < self._layer or not len(cached.visual):
            return None
        if layer == self._layer:
            assert attention is not None
            self._choose(cached, plain(attention)[cached.visual])
        return self._chosen

    def schedule(self, num_text: int, num_visual: int, num_other: int = 0) -> list[LayerCount]:
        """Exact for frames of rows x cols tokens: x + N_TTM stored everywhere and read below L,
        x + int((1 - P) N_TTM) read from L on.
        """
        rest, visual = num_text + num_other, num_visual
        if self.options.keep < 1.0 and num_visual:
            visual = sum(self._kept_of_frames(self._frames_of(num_visual)))
        read = self._read_count(visual) if self._prunes and visual else visual
        whole = LayerCount.alike(rest + visual)
        layers = range(self.facts.num_layers)
        return [
            replace(whole, read=rest + read) if layer >= self._layer else whole for layer in layers
        ]

    def narrowing_layers(self, num_visual: int) -> tuple[int, ...]:
        """L, from which on decoding reads a part; in the prompt no layer narrows."""
        return (self._layer,) if self._prunes and num_visual and self.facts.num_layers > 1 else ()

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """Stage 1: cosines, 3 d multiply-accumulates each, of three frames of four."""
        return 2 * 3 * num_visual * self.facts.width * 3 // 4

    def _kept_of_frames(self, sizes: list[int]) -> list[int]:
        """Tokens each frame keeps of its `sizes` in stage 1."""
        whole = sum(sizes[::WINDOW])
        compared = sum(sizes) - whole
        if not compared:
            return sizes
        merge = self.options.merge
        if merge is None:
            merge = min(1.0, (1.0 - self.options.keep) * sum(sizes) / compared)
        return [
            size if index % WINDOW == 0 else int((1.0 - merge) * size + ROUNDING)
            for index, size in enumerate(sizes)
        ]

    def _frames_of(self, num_visual: int) -> list[int]:
        tokens = self.facts.grid.rows * self.facts.grid.cols
        last = num_visual % tokens
        return [tokens] * (num_visual // tokens) + ([last] if last else [])

    def _read_count(self, num: int) -> int:
        return max(1, int((1.0 - self.options.prune) * num + ROUNDING))

    def _choose(self, cached: TokenRow, attention: Array) -> None:
        before, self._last_attention = self._last_attention, attention
        if before is not None and self._chosen is not None:
            likeness = array_namespace(attention).sum(unit(attention) * unit(before))
            if float(likeness) >= self.options.threshold:
                return
        order = largest_first(attention)
        self._chosen = cached.places_with(order[: self._read_count(len(order))])


def _likeness(rays: Array, cells: Array, members: Array, earlier: Array) -> Array:
    """(m,) cosine of each of `members` with the token of `earlier` in its cell, else -inf."""
    xp = array_namespace(rays)
    at = xp.clip(xp.searchsorted(cells[earlier], cells[members]), 0, len(earlier) - 1)
    partner = earlier[at]
    cosine = xp.sum(rays[members] * rays[partner], axis=-1)
    cosine = xp.where(cosine > 1 - STILL, 1.0, cosine)
    return xp.where(cells[partner] != cells[members], -xp.inf, cosine)
