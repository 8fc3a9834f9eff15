"""The ValueCodec protocol: n float32 values as bytes whose number is known from n alone."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class ValueCodec(Protocol):
    """Codes a flat float32 array; the byte count depends on its size only."""

    def coded_bytes(self, size: int) -> int:
        """Exact bytes of `size` coded values."""

    def encode(
        self, values: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> bytes:
        """`values`: (N,) float32, finite. `weights`: (N,) >= 0, the cost of an error there."""

    def decode(self, data: bytes, size: int) -> NDArray[np.float32]:
        """(size,) float32; CodecError if `data` cannot be read."""
