"""The ood score against its literal formula, with a full and a diagonal precision."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_device.sampling.gate import ood_score
from driftline_shared.pair.token_space import pool, pooled_statistics
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


@pytest.mark.parametrize("width", [16, 1_100])
def test_score_is_about_one_on_source_and_more_on_a_shift(width: int) -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(500, 4, width)).astype(np.float32)
    mean, precision = pooled_statistics(pool(source))
    fresh = rng.normal(size=(100, 4, width)).astype(np.float32)
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


def test_a_diagonal_scores_as_its_matrix() -> None:
    rng = np.random.default_rng(2)
    diagonal = rng.uniform(0.5, 2.0, 5).astype(np.float32)
    mean = np.zeros(5, np.float32)
    values = tokens(rng.normal(size=(4, 5)))
    assert ood_score(values, space(mean, diagonal)) == pytest.approx(
        ood_score(values, space(mean, np.diag(diagonal))), rel=1e-6
    )
