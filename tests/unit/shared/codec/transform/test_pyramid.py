"""The pyramid: orthonormal over any set of places, and the Haar transform over all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.codec.transform.pyramid import num_levels, pyramid_of
from driftline_shared.tokens import Grid

grids = st.builds(
    lambda frames, rows, cols: Grid(frames=frames, rows=rows, cols=cols),
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 9),
)  # fmt: skip


@given(grids, st.integers(0, 2**32 - 1))
def test_it_keeps_lengths_and_comes_back_for_any_places(grid: Grid, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, grid.num_tokens + 1))
    places = np.sort(rng.permutation(grid.num_tokens)[:count])
    pyramid, values = pyramid_of(places, grid), rng.normal(size=(count, 3))
    found = pyramid.forward(values)
    assert (found**2).sum(axis=0) == pytest.approx((values**2).sum(axis=0))
    assert pyramid.inverse(found) == pytest.approx(values)
    assert (np.diff(pyramid.level) >= 0).all() and pyramid.level[0] == 0
    assert pyramid.level.max() < num_levels(grid) == pyramid.num_levels
    assert pyramid.weight[0] == count and pyramid.weight.min() >= 1


def test_even_values_leave_one_number_each() -> None:
    places = np.array([0, 3, 4, 7, 9, 14, 15])
    found = pyramid_of(places, Grid(rows=4, cols=4)).forward(np.ones((7, 2)))
    assert found[0] == pytest.approx(np.sqrt(7))
    assert np.abs(found[1:]).max() < 1e-12


def test_over_all_places_it_is_the_haar_transform() -> None:
    pyramid = pyramid_of(np.arange(4), Grid(rows=2, cols=2))
    found = pyramid.forward(np.array([[1.0], [2.0], [4.0], [9.0]]))
    assert found[:, 0].tolist() == pytest.approx([8.0, 5.0, 2**-0.5, 5 * 2**-0.5])
    assert pyramid.level.tolist() == [0, 1, 2, 2]
    assert pyramid.weight.tolist() == [4, 2, 1, 1]
