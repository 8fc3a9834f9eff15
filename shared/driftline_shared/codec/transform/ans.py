"""Symbols of known frequencies as bytes and back: range asymmetric numeral systems.

    push a symbol of frequency f that starts at c:   x -> (x // f) * 2^15 + c + x % f
    pull the symbol at slot x mod 2^15:              x -> f * (x // 2^15) + slot - c

(Duda, arXiv 1311.2540.) One whole number x holds all symbols, the last one pushed on top; when it
would pass 2^47 its lowest 16 bits are moved out. Whole numbers alone, so every machine computes the
same bytes. A symbol costs its entropy but for some 1e-4 bits, the whole some two bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

PRECISION = 15
"""Frequencies of an alphabet sum to 2^15."""
TOTAL = 1 << PRECISION
_MASK = TOTAL - 1
_WORD_BITS = 16
_LOW = 1 << 31
"""The number is refilled below this."""
STATE_BYTES = 6


def encode(starts: Sequence[int], frequencies: Sequence[int]) -> bytes:
    """The symbols [start, start + frequency) of [0, 2^15), in order; nothing for no symbols.

    Layout: the number in `STATE_BYTES` bytes, then the words moved out in the order they are
    needed, each lowest byte first.
    """
    if not starts:
        return b""
    x, words = 1, []
    for start, frequency in zip(reversed(starts), reversed(frequencies), strict=True):
        if x >= frequency << 32:  # (_LOW >> PRECISION) << _WORD_BITS
            words.append(x & 0xFFFF)
            x >>= _WORD_BITS
        high, low = divmod(x, frequency)
        x = (high << PRECISION) + low + start
    head = x.to_bytes(STATE_BYTES, "little")
    return head + b"".join(word.to_bytes(2, "little") for word in reversed(words))


class Reader:
    """Gives the symbols of `encode` one by one. Any bytes give some symbols: what should be there
    and is not counts as nothing.
    """

    __slots__ = ("_words", "_x")

    def __init__(self, data: bytes) -> None:
        self._x = int.from_bytes(data[:STATE_BYTES], "little")
        rest = data[STATE_BYTES:]
        self._words = [rest[i] | rest[i + 1] << 8 for i in range(0, len(rest) - 1, 2)]
        self._words.reverse()

    def slot(self) -> int:
        """Where in [0, 2^15) the next symbol lies; `take` it then."""
        return self._x & _MASK

    def take(self, start: int, frequency: int) -> None:
        """Step over the symbol [start, start + frequency) that holds the slot."""
        x = frequency * (self._x >> PRECISION) + (self._x & _MASK) - start
        if x < _LOW and self._words:
            x = x << _WORD_BITS | self._words.pop()
        self._x = x

    def number(self, bits: int) -> int:
        """A number of `bits` (at most 15) evenly likely bits."""
        shift = PRECISION - bits
        value = self.slot() >> shift
        self.take(value << shift, 1 << shift)
        return value


def number(value: int, bits: int) -> tuple[int, int]:
    """(start, frequency) of a number of `bits` (at most 15) evenly likely bits."""
    shift = PRECISION - bits
    return value << shift, 1 << shift
