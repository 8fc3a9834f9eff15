"""An orthonormal transform over any set of places of a grid: sums and differences of neighbours.

Places are merged two by two, along columns and rows in turn (then frames), until one is left. Two
that meet in one cell, standing for wa and wb places, become

    low  = (sqrt(wa) a + sqrt(wb) b) / sqrt(wa + wb)       goes on, standing for wa + wb
    high = (sqrt(wa) b - sqrt(wb) a) / sqrt(wa + wb)       stays

which is the Haar transform where all places are there, and orthonormal whichever are: the
region-adaptive hierarchical transform of point clouds (de Queiroz and Chou, IEEE TIP 25 (8), 2016).
Square roots, products and sums of float64 are exactly rounded, and each value is computed by itself
in one order, so every machine gets the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_shared.tokens import Grid

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """One step: rows `first` and `second` meet, standing for `a` and `b` (N, 1) places."""

    first: Indices
    second: Indices
    a: Floats
    b: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Pyramid:
    """How K places are merged.

    `order`: (K,) rows from coarse to fine: the one low value that is left, then the high values of
    the last step, and so on. `level`: (K,) in that order: 0 for the low value, else how many steps
    from the last, 1 for the last. `weight`: (K,) in that order, whole numbers: places the low value
    stands for, 2 wa wb / (wa + wb) rounded down for a high one, what its variance grows with.
    `num_levels`: that there can be over the grid.
    """

    merges: tuple[Merge, ...]
    order: Indices
    level: Indices
    weight: Indices
    num_levels: int

    def forward(self, values: Floats) -> Floats:
        """(K, C) values at the places, in their order -> (K, C) coefficients, coarse to fine."""
        rows = values.copy()
        for merge in self.merges:
            ca, cb = _shares(merge)
            a, b = rows[merge.first], rows[merge.second]
            rows[merge.first] = ca * a + cb * b
            rows[merge.second] = ca * b - cb * a
        return rows[self.order]

    def inverse(self, coefficients: Floats) -> Floats:
        """What `forward` was given."""
        rows = np.empty_like(coefficients)
        rows[self.order] = coefficients
        for merge in reversed(self.merges):
            ca, cb = _shares(merge)
            low, high = rows[merge.first], rows[merge.second]
            rows[merge.first] = ca * low - cb * high
            rows[merge.second] = cb * low + ca * high
        return rows


def num_levels(grid: Grid) -> int:
    """Levels of a pyramid over `grid`: one for the low value, one a step."""
    return 1 + len(_axes(grid))


def pyramid_of(positions: NDArray[np.integer], grid: Grid) -> Pyramid:
    """`positions`: (K,) strictly rising flat indices into `grid`, K >= 1."""
    flat = positions.astype(np.int64)
    area = grid.rows * grid.cols
    place = [flat // area, flat // grid.cols % grid.rows, flat % grid.cols]
    axes = _axes(grid)
    rows = np.arange(flat.size)
    weights = np.ones(flat.size, dtype=np.int64)
    level = np.zeros(flat.size, dtype=np.int64)
    weight = np.full(flat.size, flat.size, dtype=np.int64)
    merges = []
    for step, axis in enumerate(axes):
        place[axis] = place[axis] // 2
        cell = (place[0] * grid.rows + place[1]) * grid.cols + place[2]
        by_cell = np.argsort(cell, kind="stable")
        twice = np.flatnonzero(np.diff(cell[by_cell]) == 0)
        first, second = by_cell[twice], by_cell[twice + 1]
        wa, wb = weights[first], weights[second]
        merges.append(
            Merge(
                first=rows[first],
                second=rows[second],
                a=wa.astype(np.float64)[:, None],
                b=wb.astype(np.float64)[:, None],
            )
        )
        level[rows[second]] = len(axes) - step
        weight[rows[second]] = 2 * wa * wb // (wa + wb)
        weights[first] += wb
        kept = np.ones(rows.size, dtype=bool)
        kept[second] = False
        rows, weights = rows[kept], weights[kept]
        place = [one[kept] for one in place]
    order = np.argsort(level, kind="stable")
    return Pyramid(
        merges=tuple(merges),
        order=order,
        level=level[order],
        weight=weight[order],
        num_levels=1 + len(axes),
    )


def _shares(merge: Merge) -> tuple[Floats, Floats]:
    whole = np.sqrt(merge.a + merge.b)
    return np.sqrt(merge.a) / whole, np.sqrt(merge.b) / whole


def _axes(grid: Grid) -> list[int]:
    """Which axis each step halves: the longer of rows and columns, frames last."""
    frames, rows, cols = grid.frames, grid.rows, grid.cols
    axes = []
    while rows > 1 or cols > 1:
        if cols >= rows:
            axes.append(2)
            cols = (cols + 1) // 2
        else:
            axes.append(1)
            rows = (rows + 1) // 2
    while frames > 1:
        axes.append(0)
        frames = (frames + 1) // 2
    return axes
