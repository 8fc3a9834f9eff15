"""The crc32 of one event: over bytes that follow from its values alone, whatever file holds them.

Of each column in the order of `COLUMNS`: byte 0 for null; else byte 1 and the value, little-endian:

    int     8 bytes, signed           bool    1 byte
    float   8 bytes, IEEE 754         text, bytes   4 bytes length, then UTF-8 or the bytes
    ints    4 bytes count, then 4 bytes each, signed
    scores  4 bytes count, then of each, sorted by kind: kind as text, score as float
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any

from driftline_shared.trace.columns import COLUMNS
from driftline_shared.trace.event import TraceEvent


def _bytes(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


def _text(value: str) -> bytes:
    return _bytes(value.encode())


def _ints(value: tuple[int, ...]) -> bytes:
    return struct.pack(f"<I{len(value)}i", len(value), *value)


def _scores(value: dict[str, float]) -> bytes:
    pairs = (_text(kind) + struct.pack("<d", value[kind]) for kind in sorted(value))
    return struct.pack("<I", len(value)) + b"".join(pairs)


_ENCODE: dict[str, Callable[[Any], bytes]] = {
    "int": lambda value: struct.pack("<q", value),
    "float": lambda value: struct.pack("<d", value),
    "bool": lambda value: b"\x01" if value else b"\x00",
    "text": _text,
    "bytes": _bytes,
    "ints": _ints,
    "scores": _scores,
}

_PLAN = tuple((column.name, _ENCODE[column.type]) for column in COLUMNS)


def event_crc32(event: TraceEvent) -> int:
    """The crc32 of `event`, 0 .. 2**32 - 1. Raises struct.error for a number out of range."""
    total = 0
    for name, encode in _PLAN:
        value = getattr(event, name)
        total = zlib.crc32(b"\x00" if value is None else b"\x01" + encode(value), total)
    return total
