"""Numeral systems: every sequence comes back, at the price of its entropy."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.codec.transform import ans

FREQUENCIES = (1, 2, 30_000, 765, 2_000)
STARTS = (0, 1, 3, 30_003, 30_768)


def decoded(data: bytes, count: int) -> list[int]:
    reader, found = ans.Reader(data), []
    for _ in range(count):
        slot = reader.slot()
        symbol = max(i for i, start in enumerate(STARTS) if start <= slot)
        reader.take(STARTS[symbol], FREQUENCIES[symbol])
        found.append(symbol)
    return found


@given(st.lists(st.integers(0, 4), max_size=400))
def test_every_sequence_comes_back_for_its_entropy(symbols: list[int]) -> None:
    data = ans.encode([STARTS[s] for s in symbols], [FREQUENCIES[s] for s in symbols])
    assert decoded(data, len(symbols)) == symbols
    bits = sum(ans.PRECISION - math.log2(FREQUENCIES[s]) for s in symbols)
    assert len(data) <= (bits + 4) / 8 + ans.STATE_BYTES
    assert (len(data) == 0) is (not symbols)


@given(st.binary(max_size=60), st.integers(0, 100))
def test_any_bytes_give_some_symbols(data: bytes, count: int) -> None:
    assert len(decoded(data, count)) == count


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 1 << 15)), max_size=50))
def test_plain_numbers_come_back(numbers: list[tuple[int, int]]) -> None:
    asked = [(bits, value % (1 << bits)) for bits, value in numbers]
    pieces = [ans.number(value, bits) for bits, value in asked]
    reader = ans.Reader(ans.encode([a for a, _ in pieces], [b for _, b in pieces]))
    assert [reader.number(bits) for bits, _ in asked] == [value for _, value in asked]
