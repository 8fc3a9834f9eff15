"""A device's drift is in the features of its samples, what a picture shows is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from driftline_cloud.grouping.statistics import DIRECTIONS, features
from driftline_shared.tokens import TokenSpace
from tests.fakes.cloud import bare_pair, make_sample
from tests.fakes.drifting import drifted_sample


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> TokenSpace:
    return bare_pair(Path(tmp_path_factory.mktemp("pair"))).token_space


def test_drifts_lie_apart_along_the_first_direction(space: TokenSpace) -> None:
    samples = [drifted_sample(n, space, ("night", "sketch")[n % 2]) for n in range(60)]
    rows = features(samples, space, score="entropy")
    assert rows.shape[1] <= DIRECTIONS
    first, second = rows[0::2, 0], rows[1::2, 0]
    assert max(first) < min(second) or max(second) < min(first)
    # A diagonal of the precision says the same where channels do not go together.
    wide = replace(space, precision=np.diag(space.precision).copy())
    again = features(samples, wide, score="entropy")
    np.testing.assert_allclose(np.abs(again), np.abs(rows), atol=1e-6)


def test_scores_alone_tell_devices_apart(space: TokenSpace) -> None:
    samples = [make_sample(n, space, entropy=0.2 + 0.6 * (n % 2)) for n in range(200)]
    rows = features(samples, space, score="entropy")
    apart = np.linalg.norm(rows[0::2].mean(axis=0) - rows[1::2].mean(axis=0))
    blind = features(samples, space, score="none")
    assert apart > 3 * np.linalg.norm(blind[0::2].mean(axis=0) - blind[1::2].mean(axis=0))


def test_a_sample_without_the_score_counts_as_the_mean_of_the_others(space: TokenSpace) -> None:
    samples = [make_sample(n, space, entropy=0.2 + 0.6 * (n % 2)) for n in range(20)]
    samples[3] = replace(samples[3], scores={})
    assert np.isfinite(features(samples, space, score="entropy")).all()
    assert features([], space, score="entropy").shape[0] == 0
