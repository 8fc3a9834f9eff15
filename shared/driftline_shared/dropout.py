"""Masks of the stochastic passes that measure uncertainty, drawn alike by every runtime.

A mask depends on the seed, the place it is for and its shape, not on the order in which places are
reached, so a runtime may ask for them in any order and still measure what another one does.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LEVELS = 1 << 16
"""A unit is dropped where 16 random bits are below the rate: cheap, and exact to 1/65536."""


class DropoutMasks:
    """The masks of one call: 0 at the dropped units, 1 / (1 - rate) at the others."""

    def __init__(self, *, rate: float, seed: int) -> None:
        """`rate` 0..1, below 1; `seed` 0 or more."""
        self._level = round(rate * _LEVELS)
        self._kept = np.float32(_LEVELS / (_LEVELS - self._level))
        self._seed = seed
        self._generators: dict[str, np.random.Generator] = {}

    def draw(self, place: str, shape: Sequence[int]) -> NDArray[np.float32]:
        """A float32 mask of `shape` for `place`, a short module path such as
        `layers.0.mlp.down_proj`; a second one for the same place is another one.
        """
        generator = self._generators.get(place)
        if generator is None:
            generator = np.random.default_rng([self._seed, zlib.crc32(place.encode())])
            self._generators[place] = generator
        size = int(np.prod(shape, dtype=np.int64))
        bits = np.frombuffer(generator.bytes(2 * size), dtype="<u2")
        mask: NDArray[np.float32] = (bits >= self._level) * self._kept
        return mask.reshape(tuple(shape))
