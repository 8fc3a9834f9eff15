"""Decisions come back as they went in; damage does not pass for an end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.codec.steps.lanes import TOTAL, Reader, Writer
from driftline_shared.errors import CodecError


def chunks_of(seed: int, sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    found = []
    for size in sizes:
        ones = rng.integers(1, TOTAL, size=size)
        found.append((ones, rng.random(size) * TOTAL < ones))
    return found


def coded(chunks: list[tuple[np.ndarray, np.ndarray]], lanes_log: int) -> bytes:
    writer = Writer()
    for ones, bits in chunks:
        writer.code(ones, bits)
    return writer.finish(lanes_log)


@given(st.integers(0, 999), st.lists(st.integers(0, 70), max_size=12), st.integers(0, 6))
def test_what_was_written_is_read(seed: int, sizes: list[int], lanes_log: int) -> None:
    chunks = chunks_of(seed, sizes)
    reader = Reader(coded(chunks, lanes_log), lanes_log)
    for ones, bits in chunks:
        np.testing.assert_array_equal(reader.code(ones), bits)
    reader.end()


def test_a_likely_decision_costs_its_entropy() -> None:
    bits = np.random.default_rng(0).random(40_000) < 0.02
    data = coded([(np.full(bits.size, int(0.02 * TOTAL)), bits)], 4)
    assert len(data) * 8 < 1.02 * 0.1414 * bits.size + 8 * 70


@pytest.mark.parametrize("data", [b"", b"\x00", bytes([5]) * 2000, bytes([3]) * 2000, b"\x00" * 6])
def test_a_wrong_head_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError, match="wrong length"):
        Reader(data, 4)


def test_missing_and_left_over_bytes_are_seen() -> None:
    chunks = chunks_of(3, [400])
    data = coded(chunks, 2)
    with pytest.raises(CodecError, match="cut off"):
        Reader(data[:-4], 2).code(chunks[0][0])
    longer = Reader(data + b"ab", 2)
    longer.code(chunks[0][0])
    with pytest.raises(CodecError, match="do not end"):
        longer.end()
