"""P(IK) heads: their bytes, their scores, how they are fitted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.errors import PairError, Reason, UpdateError
from driftline_shared.p_ik.fit import IkRows, fit_head
from driftline_shared.p_ik.head import (
    HEAD_FILE,
    LEVELS,
    MAX_HEAD_BYTES,
    IkHead,
    features,
    head_from_bytes,
    head_to_bytes,
    read_head,
    write_head,
)
from driftline_shared.p_ik.provoked import WAYS, spoil

WIDTH = 6


def fitted(*, seed: int = 0, rows: int = 400, version: int = 3) -> tuple[IkHead, IkRows]:
    """A head from rows in which the first number of the state decides, nearly always."""
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((rows, WIDTH)).astype(np.float32) * 10.0 + 100.0
    wrong = (states[:, 0] + rng.standard_normal(rows)) > 105.0
    entropy = np.where(wrong, 0.5, 0.1) * rng.uniform(0.5, 1.5, rows)
    given_rows = IkRows(features=features(states, entropy, entropy), wrong=wrong)
    right = given_rows.features[~wrong]
    head = fit_head([given_rows], right, version=version)
    assert head is not None
    return head, given_rows


def scores(head: IkHead, rows: IkRows) -> np.ndarray:
    return np.asarray([head.judge(*parts(row)).score for row in rows.features])


def parts(row: np.ndarray) -> tuple[np.ndarray, float, float]:
    return row[:-2].astype(np.float32), math.exp(row[-2]), math.exp(row[-1])


def test_a_fitted_head_ranks_wrong_answers_above_right_ones() -> None:
    head, rows = fitted()
    found = scores(head, rows)
    above = found[rows.wrong][:, None] > found[~rows.wrong][None]
    assert above.mean() > 0.97
    assert ((found >= 0) & (found <= 1)).all()


def test_a_head_survives_its_bytes() -> None:
    head, rows = fitted()
    data = head_to_bytes(head)
    assert len(data) == 8 + 12 + 2 * (WIDTH + 2 + len(LEVELS))
    again = head_from_bytes(data)
    assert (again.version, again.num_source) == (3, head.num_source)
    np.testing.assert_array_equal(again.weights, head.weights)
    np.testing.assert_array_equal(again.quantiles, head.quantiles)
    np.testing.assert_array_equal(scores(again, rows), scores(head, rows))
    assert head_to_bytes(again) == data


def test_equal_rows_give_equal_bytes() -> None:
    assert head_to_bytes(fitted()[0]) == head_to_bytes(fitted()[0])


def test_source_answers_are_unusual_as_often_as_the_level_says() -> None:
    head, rows = fitted(rows=4_000)
    right = rows.features[~rows.wrong]
    p = np.asarray([head.judge(*parts(row)).p_value for row in right])
    for level in (0.02, 0.1, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=0.01)
    assert p.min() >= 1 / (head.num_source + 1)


def test_a_state_that_is_not_finite_gives_a_score_that_is_not() -> None:
    head, _ = fitted()
    state = np.full(WIDTH, np.nan, dtype=np.float32)
    assert math.isnan(head.judge(state, 0.1, 0.1).score)


def test_weight_and_scale_of_the_rows_do_not_matter_to_the_order() -> None:
    head, rows = fitted()
    heavier = fit_head(
        [IkRows(features=rows.features, wrong=rows.wrong, weight=7.0)], rows.features, version=0
    )
    assert heavier is not None
    np.testing.assert_array_equal(heavier.weights, head.weights)


def test_too_few_mistakes_give_no_head() -> None:
    _, rows = fitted()
    few = np.zeros(len(rows.wrong), dtype=np.bool_)
    few[:3] = True
    assert fit_head([IkRows(features=rows.features, wrong=few)], rows.features, version=0) is None
    assert fit_head([], rows.features, version=0) is None
    assert fit_head([rows], rows.features[:0], version=0) is None


@given(at=st.integers(0, 10_000), change=st.integers(1, 255))
def test_a_changed_byte_is_seen(at: int, change: int) -> None:
    data = bytearray(head_to_bytes(fitted(rows=60)[0]))
    data[at % len(data)] ^= change
    with pytest.raises(UpdateError) as caught:
        head_from_bytes(bytes(data))
    assert caught.value.reason is Reason.UPDATE_CORRUPT


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UpdateError):
        head_from_bytes(data)


def test_bytes_beyond_the_bound_are_refused() -> None:
    with pytest.raises(UpdateError, match="bytes"):
        head_from_bytes(b"PIK" + bytes(MAX_HEAD_BYTES))


def test_a_pair_folder_has_one_or_none(tmp_path: Path) -> None:
    assert read_head(tmp_path) is None
    head, _ = fitted()
    assert write_head(tmp_path, head) == (tmp_path / HEAD_FILE).stat().st_size
    found = read_head(tmp_path)
    assert found is not None
    assert found.version == 3
    (tmp_path / HEAD_FILE).write_bytes(b"no head")
    with pytest.raises(PairError, match="fit-p-ik"):
        read_head(tmp_path)


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_spoilt_pictures_fit_the_model_and_differ(way: int) -> None:
    rng = np.random.default_rng(way)
    tokens = rng.standard_normal((5, 16, 4)).astype(np.float32)
    for picture in range(5):
        values, positions = spoil(tokens, way, picture, rng)
        assert values.dtype == np.float32
        assert positions.dtype == np.int64
        assert len(values) == len(positions) <= 16
        assert (np.diff(positions) > 0).all()
        assert np.isfinite(values).all()
    values, positions = spoil(tokens, way, 0, np.random.default_rng(1))
    again, _ = spoil(tokens, way, 0, np.random.default_rng(1))
    np.testing.assert_array_equal(values, again)
    assert len(positions) < 16 or not np.array_equal(values, tokens[0])
