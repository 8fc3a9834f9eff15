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
    """Of `rows` sequences: `filled` of `room` places hold something. One call's own.

    `bindings`: of passes on these buffers, by what they are for.
    """

    def __init__(self, model: ModelTable, *, rows: int, room: int) -> None:
        shape = (rows, model.num_key_heads, room, model.head_width)
        self._arrays: dict[str, Floats] = {
            f"past_{kind}.{layer}": np.empty(shape, dtype=np.float32)
            for layer in range(model.num_layers)
            for kind in ("key", "value")
        }
        self.filled = 0
        self.buffers: dict[str, Value] = {
            name: to_value(array) for name, array in self._arrays.items()
        }
        self.bindings: dict[tuple[str, ...], Binding] = {}

    def clear(self) -> None:
        """Put zeros in all places: what is masked is multiplied all the same."""
        for array in self._arrays.values():
            array.fill(0.0)

    def put(self, row: int, start: int, places: Places, source: int = 0) -> None:
        """Copy row `source` of `places` into a row, from the place `start` on."""
        for name, array in places.items():
            self._arrays[name][row, :, start : start + array.shape[2]] = array[source]

    def places(self) -> dict[str, Floats]:
        """(B, H_kv, filled, d) of each buffer, as views."""
        return {name: array[:, :, : self.filled] for name, array in self._arrays.items()}

    def key(self, layer: int) -> Floats:
        """(B, H_kv, filled, d) keys of a layer, as a view."""
        return self._arrays[f"past_key.{layer}"][:, :, : self.filled]
