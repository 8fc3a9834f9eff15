"""One row on its way through an export's graphs: what a compressor leaves of it before the first,
and between two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.key_values import Floats, KeyValues
from driftline_device.runtime.onnx.looks import LayerGraph, attention
from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.rows.rows import TokenRow


@dataclass(kw_only=True)
class Narrowing:
    """One row on its way through the graphs, by a compressor of its own. `rows`: its places as they
    entered each graph; `layer`: the first of the last of these. `look`: the number of a graph to
    come, and states and positions of what enters it -> what its first layer makes of that.
    """

    compressor: TokenCompressor
    look: Callable[[int, Floats, NDArray[np.int64]], Mapping[str, Floats]]
    rows: list[TokenRow] = field(default_factory=list)
    layer: int = 0

    @property
    def num_read(self) -> int:
        """Places that the first layer read."""
        return len(self.rows[0])

    @property
    def survivors(self) -> NDArray[np.int64]:
        """(k,) flat grid indices, rising: visual tokens of the deepest layers that held any."""
        for row in reversed(self.rows):
            if len(row.visual):
                return np.sort(row.token[row.visual])
        return self.rows[0].token[self.rows[0].visual]

    def before(self, row: TokenRow) -> TokenRow:
        """What is left of a row before the first layer."""
        left = self.compressor.on_embeds(row)
        self.rows.append(replace(left, origin=np.arange(len(left))))
        return self.rows[-1]

    def between(
        self, layer: int, states: Floats, given: Mapping[str, Floats], cache: KeyValues
    ) -> tuple[Floats, NDArray[np.int64], dict[str, Floats]]:
        """See `Narrow`."""
        row = self.rows[-1].with_states(states[0])
        if row.deep is not None:
            # The graphs before have added theirs.
            rest = row.deep[layer - self.layer :]
            row = replace(row, deep=rest if len(rest) else None)
        keys = cache.first_keys(layer - 1, len(row))
        if self.compressor.has("on_input"):
            run = partial(self.look, len(self.rows), row.states, row.positions)
            return self._left(layer, self.compressor.on_input(layer, row, LayerGraph(keys, run)))
        seen = None
        asked = self.compressor.rows_before(layer, row)
        if asked is not None:
            queries = given[f"query.{layer - 1}"][0][:, asked]
            seen = attention(queries, keys, asked, np.arange(len(row))).mean(axis=0)
        return self._left(layer, self.compressor.on_layer(layer, row, seen))

    def _left(
        self, layer: int, row: TokenRow
    ) -> tuple[Floats, NDArray[np.int64], dict[str, Floats]]:
        self.rows.append(row)
        self.layer = layer
        return row.states[None], row.positions[:, None], deep_inputs(row, layer)

    def choose(
        self, number: int, layers: range, given: Mapping[str, Floats], cache: KeyValues
    ) -> None:
        """See `Choose`."""
        cached, layer = self.rows[number], layers.start
        seen = None
        if number and self.compressor.decode_row_before(layer):
            seen = self._seen(number, layer - 1, given, cache)
        step = int(cache.lengths[0]) - self.num_read
        places = self.compressor.on_decode(step, layer, cached, seen)
        cache.read_only(number, layers, len(cached), places)

    def _seen(
        self, number: int, layer: int, given: Mapping[str, Floats], cache: KeyValues
    ) -> Floats:
        """(n,) attention of the new place in `layer`, the last before graph `number`, to the places
        of the prompt that this graph's layers hold; 0 to those that it did not read.
        """
        source, target = self.rows[number - 1], self.rows[number]
        read = cache.places_read(number - 1)
        source = source if read is None else source.take(read)
        last = cache.held(number - 1)
        query, keys = given[f"query.{layer}"][0], cache.first_keys(layer, last + 1)
        here = attention(query, keys, np.asarray([last]), np.arange(len(source)))
        assert source.origin is not None and target.origin is not None, "numbered before"
        whole = np.zeros(self.num_read, dtype=np.float32)
        whole[source.origin] = here.mean(axis=0)[0]
        return whole[target.origin]


def deep_inputs(row: TokenRow, layer: int) -> dict[str, Floats]:
    """Inputs of graphs: what is added to a row's places behind `layer` and those that follow."""
    added = () if row.deep is None else row.deep
    return {f"deep.{layer + number}": each[None] for number, each in enumerate(added)}
