"""Pictures that are small in pixels and bytes, and yet take hours or gigabytes: found before they
are decoded.

* A JPEG may have thousands of scans of a few bytes, each of which costs a pass over all pixels.
* A TIFF may name each of millions of strips or samples, each of which becomes an object.
"""

from __future__ import annotations

import re
import struct

from driftline_shared.errors import DataError

MAX_SCANS = 64
"""Of one JPEG; encoders write about ten."""

MAX_ENTRIES = 200_000
"""Numbers in one table of a TIFF: 50 million pixels in tiles of 16 x 16."""

_START_OF_SCAN = b"\xff\xda"
_END = 0xD9
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_BYTE_TYPES = (1, 2, 6, 7)  # bytes, signed ones, text and what has no type: kept as they are


def check_structure(data: bytes) -> None:
    """DataError for an encoded picture whose parts would cost more than any honest one's."""
    if data.startswith(b"\xff\xd8"):
        # Most files end here; only in others does it matter which of these bytes are scans.
        if data.count(_START_OF_SCAN) > MAX_SCANS and _num_scans(data) > MAX_SCANS:
            raise DataError(f"has more than {MAX_SCANS} scans, which no encoder writes")
    elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tables(data)


def _num_scans(data: bytes) -> int:
    """Scans up to the end of the first picture (ITU-T T.81, B.1); counting ends above the bound."""
    num, at = 0, 2
    while num <= MAX_SCANS and (marker := _MARKER.search(data, at)) is not None:
        kind = marker.group(1)[0]
        if kind == _END:
            break
        num += kind == _START_OF_SCAN[1]
        at = marker.end()
        if kind != 0x01:  # the one marker left that has no length
            at += int.from_bytes(data[at : at + 2], "big")
    return num


def _check_tables(data: bytes) -> None:
    """The first directory of a TIFF or BigTIFF: all that is read of it."""
    order = "<" if data[:1] == b"I" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    start, count, entry = ("Q", "Q", "HHQ8x") if big else ("I", "H", "HHI4x")
    try:
        (at,) = struct.unpack_from(order + start, data, 8 if big else 4)
        (num,) = struct.unpack_from(order + count, data, at)
        size = struct.calcsize(order + entry)
        at += struct.calcsize(order + count)
        for number in range(min(num, 0xFFFF)):
            tag, kind, entries = struct.unpack_from(order + entry, data, at + number * size)
            if entries > MAX_ENTRIES and kind not in _BYTE_TYPES:
                raise DataError(
                    f"has a table (tag {tag}) of {entries} numbers, at most {MAX_ENTRIES}"
                )
    except (struct.error, OverflowError):
        return  # broken, which the decoder will say
