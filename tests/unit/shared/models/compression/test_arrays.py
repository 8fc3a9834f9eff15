"""What is equal but for rounding is equal, in torch and in numpy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.models.compression.rows.arrays import largest_first, ranked

TOLERANCE = 1e-5


@given(levels=st.lists(st.integers(-20, 20), max_size=30), seed=st.integers(0, 99))
def test_ranks_are_those_of_the_values_before_rounding(levels: list[int], seed: int) -> None:
    """Levels a tenth of the tolerance off a grid's edge, each with an error of its own."""
    noise = np.random.default_rng(seed).uniform(-2e-7, 2e-7, len(levels))
    values = (np.asarray(levels) * 0.1 + 5e-7 + noise).astype(np.float32)
    wanted = np.searchsorted(np.unique(levels), levels) if levels else np.zeros(0, np.int64)
    assert ranked(values, TOLERANCE).tolist() == wanted.tolist()
    assert ranked(torch.from_numpy(values), TOLERANCE).tolist() == wanted.tolist()


def test_equal_ones_come_by_their_place() -> None:
    values = torch.tensor([0.5, 0.9, 0.5 + 1e-7, 0.9 - 1e-7, 0.1])
    assert largest_first(ranked(values, TOLERANCE)).tolist() == [1, 3, 0, 2, 4]
