"""zstd frames and segments: round trips, sizes near the entropy, no frame is believed."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_shared.codec.digits import pack_digits
from driftline_shared.codec.entropy import expand, pack_segments, shrink, unpack_segments
from driftline_shared.errors import CodecError


@given(st.binary(max_size=400))
def test_frames_round_trip_and_a_wrong_size_is_refused(data: bytes) -> None:
    coded = shrink(data)
    assert expand(coded, len(data)) == data
    for wrong in {len(data) + 1, max(0, len(data) - 1)} - {len(data)}:
        with pytest.raises(CodecError):
            expand(coded, wrong)


@given(st.lists(st.binary(max_size=120), max_size=8))
def test_segments_round_trip(parts: list[bytes]) -> None:
    raw = b"".join(parts)
    blob = pack_segments(parts)
    assert unpack_segments(blob, len(raw)) == raw
    assert len(blob) <= len(raw) + 8 * (len(parts) + 1)


def test_segments_of_unlike_statistics_do_not_share_a_table() -> None:
    rng = np.random.default_rng(0)
    # Packed ternary symbols of two densities: one table for both would fit neither.
    parts = [
        pack_digits((rng.random(20_000) < share).astype(np.uint8) + 1, 3)
        for share in (0.02, 0.02, 0.5, 0.5)
    ]
    packed = pack_segments(parts)
    assert packed[0] == 2
    assert len(packed) < 0.97 * len(shrink(b"".join(parts)))


@pytest.mark.parametrize(("share", "excess"), [(0.1, 1.07), (0.25, 1.04), (0.5, 1.03)])
def test_ternary_symbols_come_near_their_entropy(share: float, excess: float) -> None:
    rng = np.random.default_rng(1)
    size = 80_000
    symbols = np.where(rng.random(size) < share, rng.choice([0, 2], size), 1).astype(np.uint8)
    bits = -share * np.log2(share / 2) - (1 - share) * np.log2(1 - share)
    blob = pack_segments([pack_digits(symbols, 3)])
    assert 8 * len(blob) <= excess * bits * size


def test_a_frame_that_claims_to_be_huge_allocates_nothing() -> None:
    bomb = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(
            format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=1
        )
    ).compress(bytes(1 << 24))
    assert len(bomb) < 4_096
    with pytest.raises(CodecError):
        expand(bomb, 100)


@settings(max_examples=300)
@given(st.binary(max_size=100), st.integers(0, 500))
def test_any_blob_gives_its_size_or_our_error(blob: bytes, size: int) -> None:
    with contextlib.suppress(CodecError):
        assert len(unpack_segments(blob, size)) == size


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_gives_the_size_or_our_error(place: int, bit: int) -> None:
    raw = bytes(range(60)) * 5
    blob = bytearray(pack_segments([raw[:100], raw[100:]]))
    blob[place % len(blob)] ^= 1 << bit
    with contextlib.suppress(CodecError):
        assert len(unpack_segments(bytes(blob), len(raw))) == len(raw)
