"""Binary decisions of known probabilities as bytes and back, many at a time.

Range asymmetric numeral systems (Duda, arXiv 1311.2540) with one number x a lane; a chunk of
decisions goes to the lanes from the first on, so numpy steps all of them together:

    push a bit of frequency f that starts at c:   x -> (x // f) * 2^15 + c + x % f
    pull the bit at slot x mod 2^15:              x -> f * (x // 2^15) + slot - c

Each x stays in [2^16, 2^32); 16 bits are moved out or in where it would leave that. Whole numbers
alone, so every machine reads the same bits.

Layout: log2 of the number of lanes u8, each lane's x u32, then the words moved out u16, in the
order in which they are read; little-endian. When all is read, no word is left and every x is 2^16:
damage is seen there.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import CodecError

Ints = NDArray[np.int64]
Bits = NDArray[np.bool_]

TOTAL = 1 << 15
"""Frequencies of 0 and 1 sum to this."""
_PRECISION = 15
_LOW = 1 << 16


class Coder(Protocol):
    """Takes decisions (`Writer`) or gives them (`Reader`); what calls it is the same code."""

    def code(self, ones: Ints, bits: Bits | None) -> Bits:
        """`ones`: (N,) frequency of 1, in 1..2^15 - 1. `bits`: (N,), None when reading."""


class Writer:
    """Collects decisions; `finish` makes bytes of them."""

    def __init__(self) -> None:
        self._starts: list[Ints] = []
        self._frequencies: list[Ints] = []

    def code(self, ones: Ints, bits: Bits | None) -> Bits:
        assert bits is not None  # who writes knows what
        zeros = TOTAL - ones
        self._starts.append(np.where(bits, zeros, 0))
        self._frequencies.append(np.where(bits, ones, zeros))
        return bits

    def finish(self, lanes_log: int) -> bytes:
        """Everything coded so far, in 2^`lanes_log` lanes."""
        lanes = 1 << lanes_log
        state = np.full(lanes, _LOW, dtype=np.int64)
        words: list[Ints] = []
        for starts, frequencies in zip(
            reversed(self._starts), reversed(self._frequencies), strict=True
        ):
            for begin in reversed(range(0, starts.size, lanes)):
                frequency = frequencies[begin : begin + lanes]
                x = state[: frequency.size]
                full = x >= frequency << 17
                words.append(x[full] & 0xFFFF)
                x = np.where(full, x >> 16, x)
                high, low = np.divmod(x, frequency)
                state[: frequency.size] = (high << _PRECISION) + low + starts[begin : begin + lanes]
        moved = np.concatenate(words[::-1]) if words else np.zeros(0, dtype=np.int64)
        return bytes([lanes_log]) + state.astype("<u4").tobytes() + moved.astype("<u2").tobytes()


class Reader:
    """Gives the decisions of `Writer` in their order; CodecError where bytes are missing, or where
    they are in other than 2^`lanes_log` lanes."""

    def __init__(self, data: bytes, lanes_log: int) -> None:
        head = 1 + 4 * (1 << lanes_log)
        if len(data) < head or data[0] != lanes_log or (len(data) - head) % 2:
            raise CodecError("packed steps have the wrong length")
        self._lanes = 1 << lanes_log
        self._state = np.frombuffer(data[1:head], dtype="<u4").astype(np.int64)
        self._words = np.frombuffer(data[head:], dtype="<u2").astype(np.int64)
        self._next = 0

    def code(self, ones: Ints, bits: Bits | None = None) -> Bits:
        found = np.empty(ones.size, dtype=np.bool_)
        for begin in range(0, ones.size, self._lanes):
            found[begin : begin + self._lanes] = self._step(ones[begin : begin + self._lanes])
        return found

    def end(self) -> None:
        """CodecError unless all bytes were read, and rightly."""
        if self._next != self._words.size or (self._state != _LOW).any():
            raise CodecError("packed steps do not end where they should")

    def _step(self, ones: Ints) -> Bits:
        x = self._state[: ones.size]
        slot, zeros = x & (TOTAL - 1), TOTAL - ones
        bits: Bits = slot >= zeros
        x = np.where(bits, ones, zeros) * (x >> _PRECISION) + slot - np.where(bits, zeros, 0)
        low = x < _LOW
        count = int(np.count_nonzero(low))
        if count:
            words = self._words[self._next : self._next + count]
            if words.size < count:
                raise CodecError("packed steps are cut off")
            x[low] = x[low] << 16 | words
            self._next += count
        self._state[: ones.size] = x
        return bits
