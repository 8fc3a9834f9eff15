"""Whole numbers of a picture: written and read alike, however large, at the cost foreseen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.codec.transform import symbols
from driftline_shared.codec.transform.pyramid import pyramid_of
from driftline_shared.tokens import Grid
from tests.fakes.transforms import made_transform

GRID, WIDTH = Grid(rows=4, cols=6), 16


@given(
    st.integers(1, 24), st.integers(1, WIDTH), st.integers(0, 255),
    st.sampled_from([0.3, 2.0, 40.0, 1e4]), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_numbers_come_back_at_the_cost_foreseen(
    count: int, width: int, step: int, size: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    transform = made_transform(GRID, WIDTH)
    pyramid = pyramid_of(np.sort(rng.permutation(24)[:count]), GRID)
    scales = symbols.scales_of(pyramid, transform.log_scales, step)[:, :width]
    drawn = np.rint(rng.laplace(scale=size, size=(count, width)))
    numbers = np.clip(drawn, -symbols.MAX_NUMBER, symbols.MAX_NUMBER).astype(np.int64)
    alphabets = symbols.alphabets_of(numbers, scales)
    data = symbols.write(numbers, alphabets, transform)
    assert symbols.read(data, scales, transform).tolist() == numbers.tolist()
    foreseen = symbols.cost_bits(numbers, alphabets, transform)
    assert abs(8 * len(data) - foreseen) <= 0.02 * foreseen + 48 + count * width


def test_steps_rise_by_an_octave_in_eight_and_are_found_again() -> None:
    steps = [symbols.step_of(0.25, index) for index in range(symbols.NUM_STEPS)]
    assert steps == sorted(set(steps))
    assert steps[8:] == [2 * step for step in steps[:-8]]
    assert [symbols.step_index(0.25, step) for step in steps] == list(range(symbols.NUM_STEPS))


@pytest.mark.parametrize(("weight", "eighths"), [(1, 0), (2, 4), (3, 6), (4, 8), (64, 24)])
def test_a_weights_root_in_eighths_of_octaves(weight: int, eighths: int) -> None:
    assert symbols.log_weight(np.array([weight])).tolist() == [eighths]
