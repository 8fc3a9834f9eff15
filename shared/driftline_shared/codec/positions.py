"""Which of n places are kept: no bytes when all are, else a bitmap or the gaps, the smaller one."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.varint import read_varints, write_varints
from driftline_shared.errors import CodecError


class PositionKind(IntEnum):
    """How positions are written: the two low bits of a header byte."""

    ALL = 0
    BITMAP = 1
    GAPS = 2


def encode_positions(positions: NDArray[np.int64], places: int) -> tuple[PositionKind, bytes]:
    """The shorter form of `positions`: strictly rising, each in [0, places)."""
    if positions.size == places:
        return PositionKind.ALL, b""
    gaps = write_varints(np.diff(positions, prepend=-1) - 1)
    if len(gaps) < bitmap_bytes(places):
        return PositionKind.GAPS, gaps
    bits = np.zeros(places, dtype=np.uint8)
    bits[positions] = 1
    return PositionKind.BITMAP, np.packbits(bits, bitorder="little").tobytes()


def decode_positions(
    kind: int, data: bytes, offset: int, *, count: int, places: int
) -> tuple[NDArray[np.int64], int]:
    """((count,) int64 strictly rising, offset behind them); CodecError if they cannot be read.

    The caller has bounded `places`; nothing larger than that is allocated.
    """
    if count > places:
        raise CodecError(f"{count} positions in {places} places")
    if kind == PositionKind.ALL:
        if count != places:
            raise CodecError(f"{count} values for all of {places} places")
        return np.arange(places, dtype=np.int64), offset
    if kind == PositionKind.BITMAP:
        return _read_bitmap(data, offset, count=count, places=places)
    if kind == PositionKind.GAPS:
        gaps, behind = read_varints(data, offset, count)
        # Each gap is bounded first, so the sum cannot overflow.
        if count and int(gaps.max()) >= places:
            raise CodecError("a position is out of range")
        positions = np.cumsum(gaps + 1) - 1
        if count and int(positions[-1]) >= places:
            raise CodecError("a position is out of range")
        return positions, behind
    raise CodecError(f"positions of unknown kind {kind}")


def check_positions(kind: int, data: bytes, offset: int, *, count: int, places: int) -> int:
    """The offset behind positions that `decode_positions` reads; raises as it does.

    A bitmap, which most are, is counted and not unpacked.
    """
    if kind == PositionKind.BITMAP and count <= places:
        return _check_bitmap(data, offset, count=count, places=places)
    return decode_positions(kind, data, offset, count=count, places=places)[1]


def bitmap_bytes(places: int) -> int:
    """Bytes of a bitmap over `places`: the most that positions ever cost."""
    return (places + 7) // 8


def _read_bitmap(
    data: bytes, offset: int, *, count: int, places: int
) -> tuple[NDArray[np.int64], int]:
    end = _check_bitmap(data, offset, count=count, places=places)
    bits = np.unpackbits(np.frombuffer(data[offset:end], dtype=np.uint8), bitorder="little")
    return np.flatnonzero(bits[:places]).astype(np.int64), end


def _check_bitmap(data: bytes, offset: int, *, count: int, places: int) -> int:
    """The offset behind a bitmap of `count` places."""
    end = offset + bitmap_bytes(places)
    if end > len(data):
        raise CodecError("a bitmap is cut off")
    bits = int.from_bytes(data[offset:end], "little")
    if bits >> places:
        raise CodecError("a bitmap marks places that do not exist")
    if bits.bit_count() != count:
        raise CodecError(f"a bitmap marks {bits.bit_count()} places, {count} are said")
    return end
