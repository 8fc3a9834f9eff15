"""Some of n values: a header byte, how many, where (`positions`), the values by any ValueCodec."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.base import ValueCodec
from driftline_shared.codec.positions import decode_positions, encode_positions
from driftline_shared.codec.varint import read_varint, write_varint
from driftline_shared.errors import CodecError


def encode_sparse(
    kept: NDArray[np.int64], values: NDArray[np.float32], places: int, codec: ValueCodec,
    weights: NDArray[np.float32] | None = None,
) -> bytes:  # fmt: skip
    """`kept`: (K,) rising positions in [0, places); `values`: (K,) what lies there."""
    kind, where = encode_positions(kept, places)
    return bytes([kind]) + write_varint(kept.size) + where + codec.encode(values, weights)


def decode_sparse(
    data: bytes, places: int, codec: ValueCodec
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """((K,) int64 positions, (K,) float32 values); CodecError if `data` cannot be read."""
    if not data:
        raise CodecError("a sparse tensor is empty")
    count, offset = read_varint(data, 1, limit=places)
    kept, offset = decode_positions(data[0], data, offset, count=count, places=places)
    return kept, codec.decode(data[offset:], count)
