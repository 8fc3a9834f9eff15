"""Tables fitted to pictures: the rotation, the metric, alphabets that sum to what they must."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_shared.codec.transform import ans
from driftline_shared.codec.transform.fit import fit_transform
from driftline_shared.errors import DataError
from driftline_shared.tokens import Grid
from tests.fakes.transforms import made_transform, smooth_pictures

GRID = Grid(rows=4, cols=6)


def test_the_rotation_is_by_falling_variance_and_orthonormal() -> None:
    transform = made_transform(GRID, 16)
    rows = transform.basis * transform.scale
    assert rows @ rows.T == pytest.approx(np.eye(16), abs=1e-3)
    pictures = smooth_pictures(6, GRID, 16).reshape(-1, 16) - transform.mean
    variances = (pictures @ rows.T).var(axis=0)
    assert (np.diff(variances) <= 1e-3 * variances[0]).all()


def test_every_alphabet_has_all_magnitudes_and_sums_to_its_total() -> None:
    frequencies = made_transform(GRID, 16).frequencies.astype(int)
    assert (frequencies.sum(axis=-1) == ans.TOTAL).all()
    assert (frequencies[..., 0] >= 1).all() and (frequencies[..., 1:] >= 2).all()
    # A scale far below the step is all zeros, one far above it hardly ever.
    assert frequencies[0, 0, 0, 0] > 0.99 * ans.TOTAL
    assert frequencies[-1, -1, -1, 0] < 0.3 * ans.TOTAL


def test_a_metric_puts_first_what_it_weighs_most() -> None:
    pictures = np.random.default_rng(0).normal(size=(4, 24, 3)).astype(np.float32)
    transform = fit_transform(pictures, GRID, np.diag([1e-2, 1.0, 1e2]))
    assert np.abs(transform.basis).argmax(axis=1).tolist() == [2, 1, 0]


def test_pictures_that_are_all_one_are_fitted_too() -> None:
    transform = fit_transform(np.ones((2, 24, 3), dtype=np.float16), GRID)
    assert transform.mean.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "tokens",
    [
        np.zeros((1, 24, 3)),
        np.zeros((2, 23, 3)),
        np.zeros((2, 24, 0)),
        np.full((2, 24, 3), np.nan),
    ],
)
def test_what_nothing_can_be_fitted_to_is_refused(tokens: np.ndarray) -> None:
    with pytest.raises(DataError):
        fit_transform(tokens, GRID)
