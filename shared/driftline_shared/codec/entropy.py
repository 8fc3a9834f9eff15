"""Entropy coding by zstd with every output size known beforehand, and the container of an update.

zstd codes literals by Huffman, which cannot spend less than one bit a byte; `digits` therefore
puts several small symbols into one byte first. Frames carry no magic number, size or checksum:
sizes are ours, and digests stand in the manifest.

An update's blob is `varint count`, then per segment `varint raw, varint coded, bytes`; coded == 0
means stored as it is. Segments exist because tensors of unlike statistics share no good table.
"""

from __future__ import annotations

from collections.abc import Sequence

import zstandard

from driftline_shared.codec.varint import read_varint, write_varint
from driftline_shared.errors import CodecError

BEST_LEVEL = 19
_WINDOW_LOG = 23
"""8 MiB: the most memory a frame from outside may ask for."""
_MAX_SEGMENTS = 65_536
_SEGMENT_OVERHEAD_BYTES = 6


def shrink(data: bytes, level: int = BEST_LEVEL) -> bytes:
    """`data` as one bare zstd frame (possibly longer than `data`); `level` 1..19, from fast to
    small. What reads it does not depend on the level.
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=len(data),
        window_log=min(_WINDOW_LOG, max(10, len(data).bit_length())),
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=0,
        write_checksum=0,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def expand(data: bytes, size: int) -> bytes:
    """The `size` bytes that `shrink` was given; CodecError if it gives fewer or more.

    A stream is read because one-shot decompression trusts the size a frame claims for itself.
    """
    decompressor = zstandard.ZstdDecompressor(
        max_window_size=1 << _WINDOW_LOG, format=zstandard.FORMAT_ZSTD1_MAGICLESS
    )
    try:
        with decompressor.stream_reader(data) as reader:
            raw = reader.read(size + 1)
    except zstandard.ZstdError as error:
        raise CodecError(f"compressed bytes do not decode: {error}") from error
    if len(raw) != size:
        raise CodecError(f"compressed bytes do not give the {size} bytes they should")
    return raw


def pack_segments(parts: Sequence[bytes]) -> bytes:
    """`parts` as one blob: neighbours join while sharing a table is cheaper than one each.

    Greedy from left to right: at most 2 compressions per part.
    """
    segments: list[tuple[bytes, bytes]] = []
    for part in parts:
        alone = shrink(part)
        if segments:
            joined = segments[-1][0] + part
            together = shrink(joined)
            apart = len(segments[-1][1]) + len(alone) + _SEGMENT_OVERHEAD_BYTES
            if len(together) <= apart:
                segments[-1] = (joined, together)
                continue
        segments.append((part, alone))
    out = bytearray(write_varint(len(segments)))
    for raw, coded in segments:
        useful = len(coded) < len(raw)
        out += write_varint(len(raw)) + write_varint(len(coded) if useful else 0)
        out += coded if useful else raw
    return bytes(out)


def unpack_segments(blob: bytes, raw_bytes: int) -> bytes:
    """The parts of `pack_segments` joined; `raw_bytes` bounds all that is allocated."""
    count, offset = read_varint(blob, 0, limit=_MAX_SEGMENTS)
    raw = bytearray()
    for _ in range(count):
        size, offset = read_varint(blob, offset, limit=raw_bytes - len(raw))
        coded, offset = read_varint(blob, offset, limit=len(blob))
        end = offset + (coded or size)
        if end > len(blob):
            raise CodecError("a segment is cut off")
        piece = blob[offset:end]
        raw += expand(piece, size) if coded else piece
        offset = end
    if len(raw) != raw_bytes or offset != len(blob):
        raise CodecError(f"the blob does not give the {raw_bytes} bytes it should")
    return bytes(raw)
