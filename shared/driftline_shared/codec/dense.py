"""Dense floats: fp32 bit for bit, and fp16.

They lie in byte planes because exponents compress and mantissas do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import CodecError


@dataclass(frozen=True, kw_only=True, slots=True)
class Dense:
    """Little-endian floats of `width` bytes (4: exact, 2: rounded and saturated)."""

    width: int

    def coded_bytes(self, size: int) -> int:
        return self.width * size

    def encode(
        self, values: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> bytes:
        if self.width == 2:
            top = np.float32(np.finfo(np.float16).max)
            raw = np.clip(values, -top, top).astype("<f2").tobytes()
        else:
            raw = values.astype("<f4").tobytes()
        return to_planes(raw, self.width)

    def decode(self, data: bytes, size: int) -> NDArray[np.float32]:
        if len(data) != self.coded_bytes(size):
            raise CodecError("dense values have the wrong length")
        return np.frombuffer(from_planes(data, self.width), dtype=f"<f{self.width}").astype(
            np.float32
        )


def to_planes(raw: bytes, width: int) -> bytes:
    """All first bytes of `raw`'s `width`-byte items, then all second ones, and so on."""
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, width).T.tobytes()


def from_planes(data: bytes, width: int) -> bytes:
    """The inverse of `to_planes`."""
    return np.frombuffer(data, dtype=np.uint8).reshape(width, -1).T.tobytes()
