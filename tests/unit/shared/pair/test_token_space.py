"""Token space statistics against literal formulas; wide tokens keep a diagonal."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_shared.errors import DataError
from driftline_shared.pair import token_space
from driftline_shared.pair.token_space import FULL_WIDTH, channel_ranges, pooled_statistics


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
def test_precision_is_the_inverse_of_the_literal_covariance(num_rows: int, width: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(num_rows, width)) @ rng.normal(size=(width, width)) + 5.0
    mean, precision = pooled_statistics(x)
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(precision @ literal_shrunk_covariance(x), np.eye(width), atol=2e-3)


def test_beyond_the_full_width_it_is_the_inverse_diagonal() -> None:
    width = FULL_WIDTH + 6
    x = np.random.default_rng(5).normal(size=(6, width)) * np.linspace(1, 3, width)
    _, precision = pooled_statistics(x)
    assert precision.shape == (width,)
    np.testing.assert_allclose(
        precision, 1 / np.diag(literal_shrunk_covariance(x)), rtol=1e-4, atol=0
    )


def test_constant_channels_do_not_break_the_fit() -> None:
    x = np.zeros((10, 3))
    x[:, 0] = np.arange(10)
    _, precision = pooled_statistics(x)
    assert np.isfinite(precision).all()
    assert np.isfinite(pooled_statistics(np.ones((4, 3)))[1]).all()
    assert np.isfinite(pooled_statistics(np.ones((4, FULL_WIDTH + 1)))[1]).all()


@pytest.mark.parametrize("bad", [np.ones((1, 3)), np.full((5, 3), np.nan), np.ones(3)])
def test_too_little_or_broken_data_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError):
        pooled_statistics(bad)


def test_ranges_are_quantiles_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(1).normal(size=(9, 40, 7)).astype(np.float16)
    low, high = channel_ranges(tokens, tail=0.01)
    wanted = np.quantile(tokens.reshape(-1, 7).astype(np.float32), [0.01, 0.99], axis=0)
    np.testing.assert_allclose([low, high], wanted, rtol=1e-6)
    monkeypatch.setattr(token_space, "_BLOCK_VALUES", 500)
    np.testing.assert_array_equal(channel_ranges(tokens, tail=0.01), [low, high])


def test_ranges_of_broken_tokens_are_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        channel_ranges(np.full((2, 3, 4), np.inf, np.float32))
