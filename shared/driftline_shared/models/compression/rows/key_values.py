"""Keys and values of one row, with a length of its own for every layer.

Stands where transformers' layers expect a cache: they call `update` and read what it returns. The
prompt's places and what was generated since are held apart, so that a layer can read a part of the
prompt at one step and all of it at the next.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each (1, key heads, n, head width)."""


class RowCache:
    """Keys and values of L layers. Until `seal`, what layers compute is the prompt's."""

    def __init__(self, num_layers: int) -> None:
        self._prompt: list[KeysValues | None] = [None] * num_layers
        self._generated: list[KeysValues | None] = [None] * num_layers
        # What a layer reads of its prompt: the places, and the gathered keys and values.
        self._part: list[tuple[Tensor, KeysValues] | None] = [None] * num_layers
        self._sealed = False
        self._last_keys: Tensor | None = None

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Add a layer's new keys and values; returns all that it is to read, the new ones last."""
        if not self._sealed:
            read = self._prompt[layer_idx] = _joined(self._prompt[layer_idx], (keys, values))
        else:
            self._generated[layer_idx] = _joined(self._generated[layer_idx], (keys, values))
            part = self._part[layer_idx]
            held = self._prompt[layer_idx] if part is None else part[1]
            generated = self._generated[layer_idx]
            assert generated is not None  # just written
            read = _joined(held, generated)
        self._last_keys = read[0]
        return read

    def keep(self, places: Tensor) -> None:
        """Hold only these places (m,) of the prompt, in every layer."""
        for layer, both in enumerate(self._prompt):
            if both is not None:
                self._prompt[layer] = _gathered(both, places)

    def seal(self) -> None:
        """The prompt is complete: what comes now is generated."""
        self._sealed = True

    def read_only(self, layer: int, places: Tensor | None) -> None:
        """From now on `layer` reads `places` (m,) of its prompt; None: all."""
        both, part = self._prompt[layer], self._part[layer]
        if places is None or both is None:
            self._part[layer] = None
        elif part is None or not (part[0] is places or torch.equal(part[0], places)):
            # Gathering moves the cache once; a set that stays is not moved again.
            self._part[layer] = (places, _gathered(both, places))

    @property
    def last_keys(self) -> Tensor:
        """(key heads, n, head width): the keys that the layer run last has read."""
        assert self._last_keys is not None, "no layer has run"
        return self._last_keys[0]

    def lengths(self) -> list[int]:
        """Places of the prompt that each layer holds."""
        return [self._length(layer) for layer in range(len(self._prompt))]

    def places_read(self, layer: int) -> Tensor | None:
        """(m,) places of the prompt that `layer` reads; None: all."""
        part = self._part[layer]
        return None if part is None else part[0]

    def num_read(self, layer: int) -> int:
        """Places of the prompt that `layer` reads."""
        places = self.places_read(layer)
        return self._length(layer) if places is None else len(places)

    def _length(self, layer: int) -> int:
        both = self._prompt[layer]
        return 0 if both is None else int(both[0].shape[2])


def _joined(held: KeysValues | None, new: KeysValues) -> KeysValues:
    if held is None:
        return new
    return torch.cat([held[0], new[0]], dim=2), torch.cat([held[1], new[1]], dim=2)


def _gathered(both: KeysValues, places: Tensor) -> KeysValues:
    return both[0][:, :, places], both[1][:, :, places]
