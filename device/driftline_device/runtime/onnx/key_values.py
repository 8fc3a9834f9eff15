"""Keys and values of sequences under way, in buffers that passes grow in place.

`GroupQueryAttention` writes new places into the buffer it reads the old ones from where both are
the same memory, so a step moves one place a layer and not the whole cache.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.graphs import Binding, Value, to_value
from driftline_shared.pair.export_file import ModelTable

Floats = NDArray[np.float32]
Places = Mapping[str, Floats]
"""`past_key.{i}` and `past_value.{i}` -> (B, H_kv, P, d) float32."""


class KeyValues:
    """Of `rows` sequences, each from the first of `room` places on. One call's own.

    `lengths` (B,): places that each row holds. `bindings`: of passes on these buffers, by what they
    are for. `dropped`: of each graph of the language model, how many places fewer its layers hold;
    `moved`: how far back its positions are.
    """

    def __init__(self, model: ModelTable, *, rows: int, room: int) -> None:
        shape = (rows, model.num_key_heads, room, model.head_width)
        self._arrays: dict[str, Floats] = {
            f"past_{kind}.{layer}": np.empty(shape, dtype=np.float32)
            for layer in range(model.num_layers)
            for kind in ("key", "value")
        }
        self.lengths = np.zeros(rows, dtype=np.int32)
        self.dropped = [0] * len(model.pieces)
        self.moved = [0] * len(model.pieces)
        self.buffers: dict[str, Value] = {
            name: to_value(array) for name, array in self._arrays.items()
        }
        self.bindings: dict[tuple[str, ...], Binding] = {}

    def put(self, row: int, places: Places) -> None:
        """Copy the one row of `places` into a row, which holds those and no others then."""
        for name, array in places.items():
            self._arrays[name][row, :, : array.shape[2]] = array[0]
            self.lengths[row] = array.shape[2]

    def row(self, number: int) -> dict[str, Floats]:
        """(1, H_kv, n, d) of each buffer, the n places of one row, as views."""
        row, length = slice(number, number + 1), self.lengths[number]
        return {name: array[row, :, :length] for name, array in self._arrays.items()}

    def key(self, layer: int, number: int) -> Floats:
        """(H_kv, n, d) keys of a layer, the n places of one row, as a view."""
        return self._arrays[f"past_key.{layer}"][number, :, : self.lengths[number]]

    def first_keys(self, layer: int, num: int) -> Floats:
        """(H_kv, num, d) keys of a layer's first places, of the one row, as a view."""
        return self._arrays[f"past_key.{layer}"][0, :, :num]
