"""Varints, positions and digits: round trips, exact sizes, and refusal of everything else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.codec.digits import digits_per_byte, pack_digits, packed_bytes, unpack_digits
from driftline_shared.codec.positions import (
    PositionKind,
    bitmap_bytes,
    decode_positions,
    encode_positions,
)
from driftline_shared.codec.varint import read_varint, read_varints, write_varint, write_varints
from driftline_shared.errors import CodecError

numbers = st.integers(min_value=0, max_value=2**35 - 1)


@given(st.lists(numbers, max_size=50))
def test_varints_round_trip_and_agree_with_single_ones(values: list[int]) -> None:
    coded = write_varints(np.array(values, dtype=np.int64))
    assert coded == b"".join(write_varint(value) for value in values)
    decoded, end = read_varints(b"xy" + coded + b"z", 2, len(values))
    assert decoded.tolist() == values
    assert end == 2 + len(coded)


@given(numbers)
def test_one_varint_round_trips(value: int) -> None:
    assert read_varint(write_varint(value), 0, limit=2**35) == (
        value,
        len(write_varint(value)),
    )


def test_a_varint_above_its_limit_cut_or_endless_is_refused() -> None:
    for data in (write_varint(300), b"\x80", b"", b"\xff" * 9):
        with pytest.raises(CodecError):
            read_varint(data, 0, limit=299)


@given(st.binary(max_size=40), st.integers(0, 60), st.integers(0, 50))
def test_reading_varints_from_any_bytes_gives_numbers_or_our_error(
    data: bytes, offset: int, count: int
) -> None:
    try:
        values, end = read_varints(data, offset, count)
    except CodecError:
        return
    assert values.shape == (count,) and (count == 0 or offset < end <= len(data))


@st.composite
def kept_places(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    places = draw(st.integers(1, 400))
    kept = draw(st.sets(st.integers(0, places - 1)))
    return np.array(sorted(kept), dtype=np.int64), places


@given(kept_places())
def test_positions_round_trip_within_the_bitmap(case: tuple[np.ndarray, int]) -> None:
    kept, places = case
    kind, data = encode_positions(kept, places)
    assert len(data) <= bitmap_bytes(places)
    decoded, end = decode_positions(kind, b"?" + data, 1, count=kept.size, places=places)
    assert decoded.tolist() == kept.tolist()
    assert end == 1 + len(data)


def test_keeping_all_costs_nothing_and_few_cost_gaps() -> None:
    assert encode_positions(np.arange(4096), 4096) == (PositionKind.ALL, b"")
    kind, data = encode_positions(np.array([7, 2000, 4095]), 4096)
    assert kind is PositionKind.GAPS and len(data) <= 6
    kind, data = encode_positions(np.arange(0, 4096, 2), 4096)
    assert kind is PositionKind.BITMAP and len(data) == 512


@given(st.integers(0, 5), st.binary(max_size=80), st.integers(0, 200), st.integers(0, 200))
def test_positions_of_any_bytes_are_valid_or_refused(
    kind: int, data: bytes, count: int, places: int
) -> None:
    try:
        kept, _ = decode_positions(kind, data, 0, count=count, places=places)
    except CodecError:
        return
    assert kept.size == count
    assert (np.diff(kept) > 0).all()
    assert count == 0 or (kept[0] >= 0 and kept[-1] < places)


@given(st.sampled_from([2, 3, 5, 7, 15, 16, 255]), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_digits_round_trip(alphabet: int, size: int, seed: int) -> None:
    symbols = np.random.default_rng(seed).integers(0, alphabet, size).astype(np.uint8)
    packed = pack_digits(symbols, alphabet)
    assert len(packed) == packed_bytes(size, alphabet)
    assert unpack_digits(packed, size, alphabet).tolist() == symbols.tolist()


def test_digits_fill_bytes_and_foreign_digits_are_refused() -> None:
    assert [digits_per_byte(alphabet) for alphabet in (3, 7, 15, 16, 255)] == [5, 2, 2, 2, 1]
    with pytest.raises(CodecError):
        unpack_digits(b"\xff", 5, 3)
    with pytest.raises(CodecError):
        unpack_digits(b"\x00\x00", 5, 3)
