"""Bytes changed as broken disks, cut transfers and attackers change them."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Sequence

_PNG = b"\x89PNG\r\n\x1a\n"
_EXTREME = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
_EXTREME_SIZES = (0, 1, 2, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(data: bytes, others: Sequence[bytes], dice: random.Random) -> bytes:
    """`data` with one to eight changes; of a PNG, half the time, checksums are made right again:
    else nothing behind them would be reached.
    """
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        if not changed:
            break
        dice.choice(_CHANGES)(changed, others, dice)
    if changed.startswith(_PNG) and dice.random() < 0.5:
        _right_checksums(changed)
    return bytes(changed)


def _place(data: bytearray, dice: random.Random) -> int:
    """Headers are hit more often than pixels."""
    return dice.randrange(min(len(data), dice.choice((32, 256, len(data)))))


def _set_bytes(data: bytearray, _: Sequence[bytes], dice: random.Random) -> None:
    for _num in range(dice.choice((1, 2, 4))):
        value = dice.choice(_EXTREME) if dice.random() < 0.4 else dice.randrange(256)
        data[_place(data, dice)] = value


def _flip(data: bytearray, _: Sequence[bytes], dice: random.Random) -> None:
    data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _set_number(data: bytearray, _: Sequence[bytes], dice: random.Random) -> None:
    number, order = dice.choice(_EXTREME_SIZES), dice.choice("<>")
    packed = struct.pack(f"{order}I", number) if dice.random() < 0.5 else None
    packed = packed or struct.pack(f"{order}H", number & 0xFFFF)
    start = _place(data, dice)
    data[start : start + len(packed)] = packed


def _cut(data: bytearray, _: Sequence[bytes], dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def _leave_out(data: bytearray, _: Sequence[bytes], dice: random.Random) -> None:
    start = _place(data, dice)
    del data[start : start + dice.choice((1, 2, 4, 16, 100))]


def _repeat(data: bytearray, _: Sequence[bytes], dice: random.Random) -> None:
    start = _place(data, dice)
    data[start:start] = data[start : start + dice.choice((1, 4, 12, 64))] * dice.choice((1, 3))


def _fill(data: bytearray, _: Sequence[bytes], dice: random.Random) -> None:
    start, size = _place(data, dice), dice.choice((4, 16, 64))
    size = min(size, len(data) - start)
    data[start : start + size] = bytes([dice.choice(_EXTREME)]) * size


def _splice(data: bytearray, others: Sequence[bytes], dice: random.Random) -> None:
    """A part of another picture, in the place of one of this."""
    other = dice.choice(others)
    start, begin = _place(data, dice), dice.randrange(len(other))
    size = dice.choice((8, 40, 200, len(other)))
    data[start : start + size] = other[begin : begin + size]


_CHANGES: tuple[Callable[[bytearray, Sequence[bytes], random.Random], None], ...] = (
    _set_bytes, _set_bytes, _flip, _set_number, _cut, _leave_out, _repeat, _fill, _splice,
)  # fmt: skip


def _right_checksums(png: bytearray) -> None:
    at = len(_PNG)
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            return
        png[end : end + 4] = struct.pack(">I", zlib.crc32(png[at + 4 : end]))
        at = end + 4
