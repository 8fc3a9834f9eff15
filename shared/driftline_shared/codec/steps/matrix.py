"""Whole numbers in a matrix, most of them zero: row after row, each by what the rows before showed.

A trained change is close to an outer product: where a row's entries lie, and which sign they have,
follows from the columns. For entry (i, j), with a_j the non-zero entries of column j so far, rho_i
the density of row i (sent, one of 16) and R the sum of rho so far:

    P(non-zero)         by a context of  rho_i (a_j + 1) / (R + 1)
    P(sign as expected) by a context of |t_j|,   t_j = sum of c_i min(|k|, 2) sign(k) so far
    P(|k| > m)          by m, column j's mean |k|, and the first of these

c_i = -1 or 1 (sent) turns row i so that it goes with t. Every context learns its own probability,
over all matrices of an update.
"""

from __future__ import annotations

import numpy as np

from driftline_shared.codec.steps.counts import SCALE, Counts, even
from driftline_shared.codec.steps.lanes import Bits, Coder, Ints

TOP = 127
"""Largest number, with either sign."""

_DENSITIES = np.array(
    [0, 19, 28, 42, 61, 90, 132, 194, 284, 416, 608, 891, 1305, 1910, 2797, 4096], dtype=np.int64
)
_EDGES = np.array(
    [4, 5, 8, 11, 16, 22, 32, 45, 64, 90, 128, 181, 256, 362, 512, 724, 1024, 1448, 2048,
     2457, 2867, 3276, 3686],
    dtype=np.int64,
)  # fmt: skip
_FIRST_GUESSES = (
    2, 4, 6, 9, 13, 18, 26, 37, 53, 75, 107, 152, 215, 304, 430, 608, 861, 1217, 1722,
    2243, 2654, 3064, 3474, 3891,
)  # fmt: skip
_SIGNS = (2048, 2867, 3276, 3481, 3686, 3809)
_MAGNITUDE_EDGES = np.array([600, 1800], dtype=np.int64)
_DENSITY_BITS = 4


class MatrixModel:
    """What was learned from the matrices coded so far; both sides hold the same one."""

    def __init__(self) -> None:
        self._kept = Counts(_FIRST_GUESSES, 6)
        self._signs = Counts(_SIGNS, 6)
        self._larger = Counts([820] * 48, 4)
        self._density = Counts([2048] * 16, 2)

    def code(self, coder: Coder, rows: int, columns: int, given: Ints | None) -> Ints:
        """(rows, columns) whole numbers of at most `TOP`: `given`, or what is read."""
        out = np.zeros((rows, columns), dtype=np.int64)
        columns_seen = _Columns(columns)
        for index in range(rows):
            row = None if given is None else given[index]
            self._row(coder, columns_seen, index, row, out[index])
        return out

    def _row(self, coder: Coder, seen: _Columns, index: int, given: Ints | None, out: Ints) -> None:
        density = self._code_density(
            coder, None if given is None else _density_of(int(np.count_nonzero(given)), given.size)
        )
        if density == 0:
            return
        rho = int(_DENSITIES[density])
        likely = rho * (seen.kept * SCALE + SCALE) // (seen.expected + SCALE)
        contexts = np.searchsorted(_EDGES, likely).astype(np.int64)
        flags = self._kept.code(coder, contexts, None if given is None else given != 0)
        places = np.flatnonzero(flags)
        some = None if given is None else given[places]
        turn = 1
        if index:
            turned = None if given is None else np.array([int(seen.trend @ given) < 0])
            turn = -1 if even(coder, turned, 1)[0] else 1
        signs = self._code_signs(coder, turn * seen.trend[places], some)
        sizes = self._code_sizes(coder, seen, places, likely[places], some)
        out[places] = signs * sizes
        seen.add(places, sizes, turn * signs, rho)

    def _code_density(self, coder: Coder, density: int | None) -> int:
        node = 1
        for shift in reversed(range(_DENSITY_BITS)):
            bit = None if density is None else bool(density >> shift & 1)
            node = 2 * node + self._density.one(coder, node, bit)
        return node - (1 << _DENSITY_BITS)

    def _code_signs(self, coder: Coder, trend: Ints, some: Ints | None) -> Ints:
        """(K,) -1 or 1."""
        known = trend != 0
        unknown = int(np.count_nonzero(~known))
        positive = np.empty(trend.size, dtype=np.bool_)
        positive[~known] = even(coder, None if some is None else some[~known] > 0, unknown)
        towards = trend[known] > 0
        agree = self._signs.code(
            coder,
            np.minimum(np.abs(trend[known]), len(_SIGNS) - 1),
            None if some is None else (some[known] > 0) == towards,
        )
        positive[known] = agree == towards
        return np.where(positive, 1, -1).astype(np.int64)

    def _code_sizes(
        self, coder: Coder, seen: _Columns, places: Ints, likely: Ints, some: Ints | None
    ) -> Ints:
        """(K,) 1..`TOP`: one more at a time, while it is larger."""
        mean = 2 * seen.sizes[places] // np.maximum(seen.kept[places], 1) - 2
        base = 3 * np.clip(mean, 0, 3) + np.searchsorted(_MAGNITUDE_EDGES, likely)
        sizes = np.ones(places.size, dtype=np.int64)
        left = np.arange(places.size)
        for size in range(1, TOP):
            if not left.size:
                break
            larger: Bits = self._larger.code(
                coder,
                12 * (min(size, 4) - 1) + base[left],
                None if some is None else np.abs(some[left]) > size,
            )
            left = left[larger]
            sizes[left] += 1
        return sizes


class _Columns:
    """What the rows so far showed of each column."""

    def __init__(self, size: int) -> None:
        self.kept = np.zeros(size, dtype=np.int64)
        self.sizes = np.zeros(size, dtype=np.int64)
        self.trend = np.zeros(size, dtype=np.int64)
        self.expected = 0

    def add(self, places: Ints, sizes: Ints, signs: Ints, rho: int) -> None:
        self.kept[places] += 1
        self.sizes[places] += sizes
        self.trend[places] += signs * np.minimum(sizes, 2)
        self.expected += rho


def _density_of(count: int, size: int) -> int:
    """The class (0..15) of a row with `count` of `size` entries; 0 only for none."""
    if count == 0:
        return 0
    share = count * SCALE * 17 // (20 * size)
    return min(1 + int(np.searchsorted(_DENSITIES[1:], share)), len(_DENSITIES) - 1)
