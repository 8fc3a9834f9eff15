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
        self._prompt: dict[int, dict[str, Floats]] = {}
        self._places: dict[int, NDArray[np.int64] | None] = {}
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

    def copied(self, number: int, num_places: int) -> tuple[dict[str, Floats], int]:
        """The first places of one row, and their bytes."""
        arrays = {
            name: np.ascontiguousarray(array[:, :, :num_places])
            for name, array in self.row(number).items()
        }
        return arrays, sum(array.nbytes for array in arrays.values())

    def key(self, layer: int, number: int) -> Floats:
        """(H_kv, n, d) keys of a layer, the n places of one row, as a view."""
        return self._arrays[f"past_key.{layer}"][number, :, : self.lengths[number]]

    def read_only(
        self, number: int, layers: range, num_prompt: int, places: NDArray[np.int64] | None
    ) -> None:
        """From now on the `layers` of graph `number` read of the one row's `num_prompt` places
        `places` (m,), rising (None: all), and what came behind them. All are kept beside the
        buffers, and may be read again.
        """
        before = self._places.get(number)
        if places is before:
            return
        if number not in self._prompt:
            self._prompt[number] = {
                name: self._arrays[name][0, :, :num_prompt].copy()
                for layer in layers
                for name in (f"past_key.{layer}", f"past_value.{layer}")
            }
        chosen = np.arange(num_prompt) if places is None else places
        start, end = num_prompt if before is None else len(before), self.held(number)
        for name, whole in self._prompt[number].items():
            array = self._arrays[name][0]
            behind = array[:, start:end].copy()
            array[:, : len(chosen)] = whole[:, chosen]
            array[:, len(chosen) : len(chosen) + end - start] = behind
        self.dropped[number] += start - len(chosen)
        self._places[number] = places

    def places_read(self, number: int) -> NDArray[np.int64] | None:
        """Places of the prompt that the layers of graph `number` read; None: all."""
        return self._places.get(number)

    def held(self, number: int) -> int:
        """Places that the layers of graph `number` read of the one row."""
        return int(self.lengths[0]) - self.dropped[number]

    def first_keys(self, layer: int, num: int) -> Floats:
        """(H_kv, num, d) keys of a layer's first places, of the one row, as a view."""
        return self._arrays[f"past_key.{layer}"][0, :, :num]
