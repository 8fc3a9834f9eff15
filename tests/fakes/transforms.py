"""Token spaces with tables of the transform codec, fitted to smooth made-up pictures."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from driftline_shared.codec.transform.fit import fit_transform
from driftline_shared.tokens import Grid, TokenSpace, TokenTransform


def smooth_pictures(num: int, grid: Grid, width: int, seed: int = 0) -> NDArray[np.float32]:
    """(N, V, D) float32: neighbours are alike, and so are channels."""
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(num, grid.frames, grid.rows, grid.cols, width)).cumsum(2).cumsum(3)
    mixed = field.reshape(num, grid.num_tokens, width) @ rng.normal(size=(width, width))
    return (mixed / np.sqrt(width) + rng.normal(size=width)).astype(np.float32)


@lru_cache(maxsize=8)
def made_transform(grid: Grid, width: int) -> TokenTransform:
    """Tables for such pictures."""
    return fit_transform(smooth_pictures(6, grid, width), grid)


def with_transform(space: TokenSpace) -> TokenSpace:
    """`space` with such tables."""
    return replace(space, transform=made_transform(space.grid, space.width))
