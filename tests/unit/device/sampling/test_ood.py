"""The ood score and its statistics against literal formulas."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_device.sampling.ood import fit, ood_score, pool
from driftline_shared.errors import DataError
from driftline_shared.tokens import Grid, TokenSpace, VisualTokens


def space(mean: np.ndarray, precision: np.ndarray) -> TokenSpace:
    ones = np.ones(len(mean), np.float32)
    return TokenSpace(
        digest="0" * 64, grid=GRID, low=-ones, high=ones, mean=mean, precision=precision
    )


GRID = Grid(rows=2, cols=2)


def tokens(values: np.ndarray) -> VisualTokens:
    positions = np.arange(len(values), dtype=np.int32)
    return VisualTokens(values=values.astype(np.float32), positions=positions, grid=GRID)


def literal_shrunk_covariance(x: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf 2004, equations for the sample version, one row at a time."""
    n, d = x.shape
    centred = x - x.mean(axis=0)
    sample = sum(np.outer(row, row) for row in centred) / n
    target = np.trace(sample) / d * np.eye(d)
    distance = ((sample - target) ** 2).sum()
    error = sum(((np.outer(row, row) - sample) ** 2).sum() for row in centred) / n**2
    s = min(error / distance, 1.0)
    return (1 - s) * sample + s * target


@pytest.mark.parametrize(("num_rows", "width"), [(200, 6), (8, 12)])
def test_fit_is_the_inverse_of_the_literal_covariance(num_rows: int, width: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(num_rows, width)) @ rng.normal(size=(width, width)) + 5.0
    mean, precision = fit(x)
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(precision @ literal_shrunk_covariance(x), np.eye(width), atol=2e-3)


def test_score_is_about_one_on_source_and_more_on_a_shift() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(500, 4, 16)).astype(np.float32)
    mean, precision = fit(pool(source))
    fresh = rng.normal(size=(200, 4, 16)).astype(np.float32)
    where = space(mean, precision)
    inside = np.mean([ood_score(tokens(image), where) for image in fresh])
    outside = np.mean([ood_score(tokens(image + 1.0), where) for image in fresh])
    assert 0.8 < inside < 1.2
    assert outside > 1.8


def test_score_matches_the_formula() -> None:
    rng = np.random.default_rng(1)
    half = rng.normal(size=(3, 3))
    where = space(np.ones(3, np.float32), (half @ half.T).astype(np.float32))
    values = rng.normal(size=(4, 3))
    z = values.astype(np.float32).mean(axis=0) - 1.0
    assert ood_score(tokens(values), where) == pytest.approx(
        float(np.sqrt(z @ where.precision @ z / 3)), rel=1e-5
    )


def test_constant_channels_do_not_break_the_fit() -> None:
    x = np.zeros((10, 3))
    x[:, 0] = np.arange(10)
    _, precision = fit(x)
    assert np.isfinite(precision).all()
    assert np.isfinite(fit(np.ones((4, 3)))[1]).all()


@pytest.mark.parametrize("bad", [np.ones((1, 3)), np.full((5, 3), np.nan), np.ones(3)])
def test_too_little_or_broken_data_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError):
        fit(bad)
