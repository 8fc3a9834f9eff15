"""Which multiple of which step each weight's change becomes: the fewest bits for what is lost.

    minimise over step s and whole numbers k:   sum_i  w_i (d_i - s k_i)^2  +  price * bits(k)

d the wanted change, w what an error costs there (`packer`). bits(k) is an estimate of what
`codec.steps` spends: P(k_ij != 0) goes with the densities of row i and column j (rank one), a sign
costs `_SIGN_BITS`, each further unit what it did in the last pass. Numbers and estimates take turns
(entropy-constrained quantization; Chou, Lookabaugh, Gray, IEEE TASSP 37 (1), 1989), for each step
of a ladder; a tensor takes the step that costs least in all.

What is left out takes its effect along: least squares leave  <d, s k> < <d, d>  (weighted by w).
So all steps are raised by  <d, d> / <d, s k>, at most by `_MOST_RAISE`: the change goes as far
along d as was wanted.

`price` follows from a share: where that share of all weights matters more than one that stands
alone, that one just pays `_WEIGHT_BITS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.steps.body import Change, as_matrix, step_of
from driftline_shared.codec.steps.matrix import TOP

Arrays = Mapping[str, NDArray[np.float32]]
Floats = NDArray[np.float64]

_WEIGHT_BITS = 3.0
_SIGN_BITS = 0.6
_ROW_BITS = 4.0
_TENSOR_BITS = 9.0
_PASSES = 3
_FINEST = 2.0
"""The finest step tried: the median change that may pay, divided by this."""
_LADDER = 2
"""Codes from one step tried to the next: a quarter apart in size."""
_STEPS = np.array([step_of(code) for code in range(256)], dtype=np.float64)
_MOST_RAISE = 1.25
_MOST_UNITS = 6
"""Larger numbers cost about what this one does."""


def price_of(wanted: Arrays, weights: Arrays, share: float) -> float:
    """The price of a bit at which about `share` (0..1) of all weights are worth theirs."""
    worth = np.concatenate(
        [(weights[name] * np.square(wanted[name])).reshape(-1) for name in sorted(wanted)]
    )
    cut = max(0, worth.size - max(1, round(share * worth.size)))
    threshold = float(np.partition(worth, cut)[cut])
    if threshold <= 0.0:  # fewer changed than that
        changed = worth[worth > 0]
        threshold = float(changed.min()) if changed.size else 1.0
    return threshold / _WEIGHT_BITS


def quantize(wanted: Arrays, weights: Arrays, price: float) -> dict[str, Change]:
    """The changes that pay, by tensor; tensors with none are left out."""
    found = {}
    for name in sorted(wanted):
        change = _quantize(wanted[name], weights[name], price)
        if change is not None:
            found[name] = change
    return _raised(found, wanted, weights)


def _raised(changes: dict[str, Change], wanted: Arrays, weights: Arrays) -> dict[str, Change]:
    """The same numbers with the steps that make up for what is left out."""
    along = sum(_product(weights[name], wanted[name], changes[name].values) for name in changes)
    whole = sum(_product(weights[name], wanted[name], wanted[name]) for name in wanted)
    factor = min(_MOST_RAISE, max(1.0, whole / along)) if along > 0 else 1.0
    found = {}
    for name, change in changes.items():
        aim = factor * _STEPS[change.code]
        above = min(int(np.searchsorted(_STEPS, aim)), 255)
        code = above - int(aim - _STEPS[above - 1] < _STEPS[above] - aim) if above else 0
        found[name] = Change(numbers=change.numbers, code=code)
    return found


def _product(
    weights: NDArray[np.float32], one: NDArray[np.float32], other: NDArray[np.float32]
) -> float:
    return float((weights * one * other).sum(dtype=np.float64))


def _quantize(
    wanted: NDArray[np.float32], weights: NDArray[np.float32], price: float
) -> Change | None:
    matrix = as_matrix(wanted)
    sizes = np.abs(matrix).astype(np.float64)
    costs = as_matrix(weights).astype(np.float64)
    # A change that is worth less than half a bit stays nothing whatever its neighbours do.
    rows, columns = np.nonzero(costs * sizes * sizes > 0.5 * price)
    if rows.size == 0:
        return None
    places = _Places(matrix.shape, rows, columns)
    sizes, costs = sizes[rows, columns], costs[rows, columns]
    lost = float((costs * sizes * sizes).sum())
    best, best_cost = None, lost
    for code in _ladder(sizes):
        numbers, cost = _numbers(sizes, costs, float(_STEPS[code]), price, places)
        if cost < best_cost:
            best, best_cost = (numbers, code), cost
    if best is None:
        return None
    numbers, code = best
    whole = np.zeros(wanted.shape, dtype=np.int64)
    as_matrix(whole)[rows, columns] = numbers * np.sign(matrix[rows, columns]).astype(np.int64)
    return Change(numbers=whole, code=code)


def _ladder(sizes: Floats) -> range:
    """Codes of the steps tried, from the largest that may round a size to 1."""
    low = int(np.searchsorted(_STEPS, np.median(sizes) / _FINEST))
    high = int(np.searchsorted(_STEPS, 1.05 * sizes.max()))
    # The largest size must be a number that can be written.
    low = max(low, int(np.searchsorted(_STEPS, sizes.max() / TOP)))
    return range(min(low, 255), min(high, 255) + 1, _LADDER)


class _Places:
    """Where the weights lie that may change, and how likely one there is not zero."""

    def __init__(
        self, shape: tuple[int, ...], rows: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> None:
        self.num_rows, self.num_columns = shape
        self._rows, self._columns = rows, columns

    @property
    def num_weights(self) -> int:
        return self.num_rows * self.num_columns

    def likely(self, kept: NDArray[np.bool_]) -> Floats:
        """(K,) by the densities of its row and column, each drawn towards the mean."""
        total = float(np.count_nonzero(kept)) + 0.5
        by_row = np.bincount(self._rows[kept], minlength=self.num_rows) + (
            0.25 * total / self.num_rows
        )
        by_column = np.bincount(self._columns[kept], minlength=self.num_columns) + (
            0.5 * max(1.0, total / self.num_columns)
        )
        if self.num_rows == 1:
            by_column = np.ones(self.num_columns)
        share = (by_row / by_row.sum())[self._rows] * (by_column / by_column.sum())[self._columns]
        found: Floats = np.clip(share * total, 1e-4, 0.95)
        return found


def _numbers(
    sizes: Floats, costs: Floats, step: float, price: float, places: _Places
) -> tuple[NDArray[np.int64], float]:
    """((K,) whole numbers >= 0, what they cost together)."""
    likely = np.full(sizes.size, np.clip(0.5 * sizes.size / places.num_weights, 1e-3, 0.9))
    further = np.array([0.15, 0.3, 0.4])  # P(one more), at 1, 2, 3 and beyond
    lower = np.minimum(np.floor(sizes / step), TOP)
    numbers = np.zeros(sizes.size, dtype=np.int64)
    cost = np.zeros(0)
    for _ in range(_PASSES):
        zero = costs * sizes * sizes - price * np.log2(1 - likely)
        kept_bits = _SIGN_BITS - np.log2(likely)
        more_bits = _bits_of_units(further)
        cost, numbers = zero, np.zeros(sizes.size, dtype=np.int64)
        for number in (lower, np.minimum(lower + 1, TOP)):
            units = number.astype(np.int64)
            bits = kept_bits + more_bits[np.clip(units, 1, _MOST_UNITS)]
            here = costs * np.square(sizes - number * step) + price * bits
            better = (units > 0) & (here < cost)
            numbers, cost = np.where(better, units, numbers), np.where(better, here, cost)
        kept = numbers > 0
        if not kept.any():
            break
        likely = places.likely(kept)
        counts = [float(np.count_nonzero(numbers >= unit)) for unit in range(1, 5)]
        chances = [(above + 0.2) / (here + 1.0) for here, above in pairwise(counts)]
        further = np.clip(chances, 0.01, 0.9)
    fixed = price * (_TENSOR_BITS + _ROW_BITS * places.num_rows)
    return numbers, float(cost.sum()) + fixed


def _bits_of_units(further: Floats) -> Floats:
    """(_MOST_UNITS + 1,) bits that the size of a number 1, 2, ... takes; [0] is not used."""
    bits = np.zeros(_MOST_UNITS + 1)
    climbed = 0.0
    for unit in range(1, _MOST_UNITS + 1):
        chance = float(further[min(unit, 3) - 1])
        bits[unit] = climbed - np.log2(1 - chance)
        climbed -= np.log2(chance)
    return bits
