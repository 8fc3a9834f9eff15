"""Unsigned LEB128 integers: one at a time for headers, whole arrays for gaps between positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import CodecError

_MAX_BYTES = 5
"""Bytes of the longest integer read: 35 bits, more than any size we accept."""


def write_varint(value: int) -> bytes:
    """`value` (>= 0) in 7-bit groups, lowest first; the high bit says that more follow."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, offset: int, *, limit: int) -> tuple[int, int]:
    """(value, offset behind it); CodecError if it is cut, too long or above `limit`."""
    value = 0
    for index in range(_MAX_BYTES):
        if offset + index >= len(data):
            raise CodecError("a number is cut off")
        byte = data[offset + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value > limit:
                raise CodecError(f"a number is {value}, at most {limit} is possible")
            return value, offset + index + 1
    raise CodecError("a number is too long")


def write_varints(values: NDArray[np.int64]) -> bytes:
    """All of `values` (>= 0, < 2**35) one behind the other."""
    if values.size == 0:
        return b""
    groups = np.arange(_MAX_BYTES, dtype=np.int64) * 7
    parts = (values[:, None] >> groups) & 0x7F  # (N, 5)
    lengths = np.maximum(1, _MAX_BYTES - np.argmax(parts[:, ::-1] != 0, axis=1))
    lengths[~parts.any(axis=1)] = 1
    column = np.arange(_MAX_BYTES)
    parts[column < (lengths - 1)[:, None]] |= 0x80
    coded: NDArray[np.uint8] = parts[column < lengths[:, None]].astype(np.uint8)
    return coded.tobytes()


def read_varints(data: bytes, offset: int, count: int) -> tuple[NDArray[np.int64], int]:
    """((count,) int64, offset behind them); memory is bounded by the bytes given."""
    window = np.frombuffer(data, dtype=np.uint8)[offset : offset + _MAX_BYTES * count]
    ends = np.flatnonzero(window < 0x80)[:count]
    if ends.size < count:
        raise CodecError("a list of numbers is cut off")
    if count == 0:
        return np.zeros(0, dtype=np.int64), offset
    starts = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1] + 1])
    lengths = ends - starts + 1
    if int(lengths.max()) > _MAX_BYTES:
        raise CodecError("a number is too long")
    values = np.zeros(count, dtype=np.int64)
    for group in range(int(lengths.max())):
        present = lengths > group
        values[present] |= (window[starts[present] + group].astype(np.int64) & 0x7F) << (7 * group)
    return values, offset + int(ends[-1]) + 1
