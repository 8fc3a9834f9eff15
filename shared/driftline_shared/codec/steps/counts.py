"""How likely a 1 is in each context: what was seen there so far, in whole numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftline_shared.codec.steps.lanes import TOTAL, Bits, Coder, Ints

SCALE = 4096
"""Probabilities that we write down are shares of this."""
_SEEN = 16
_LIMIT = 1 << 16
_LEAST = 32


class Counts:
    """One adaptive probability a context. `start`: of a 1, in 1..4095; `weight`: how many
    decisions that is worth.
    """

    def __init__(self, start: Sequence[int], weight: int) -> None:
        ones = np.maximum(1, np.asarray(start, dtype=np.int64) * weight * _SEEN // SCALE)
        self._counts = np.stack([np.maximum(1, weight * _SEEN - ones), ones])  # (2, contexts)

    def code(self, coder: Coder, contexts: Ints, bits: Bits | None) -> Bits:
        """`bits` (N,) each in its context (N,); all are coded before any is learned from."""
        zeros, ones = self._counts[0][contexts], self._counts[1][contexts]
        likely = np.clip(ones * TOTAL // (zeros + ones), _LEAST, TOTAL - _LEAST)
        bits = coder.code(likely, bits)
        size = self._counts.shape[1]
        self._counts[0] += _SEEN * np.bincount(contexts[~bits], minlength=size)
        self._counts[1] += _SEEN * np.bincount(contexts[bits], minlength=size)
        much = self._counts.sum(axis=0) > _LIMIT
        self._counts[:, much] = np.maximum(1, self._counts[:, much] // 2)
        return bits

    def one(self, coder: Coder, context: int, bit: bool | None) -> bool:
        """One decision."""
        bits = None if bit is None else np.array([bit], dtype=np.bool_)
        return bool(self.code(coder, np.array([context], dtype=np.int64), bits)[0])


def even(coder: Coder, bits: Bits | None, size: int) -> Bits:
    """`size` decisions that nothing is known about."""
    return coder.code(np.full(size, TOTAL // 2, dtype=np.int64), bits)
