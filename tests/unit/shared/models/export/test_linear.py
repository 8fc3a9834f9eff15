"""Codes stand for the weights they were made of, as closely as their bits allow."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_shared.models.export.linear import BLOCK, block_codes, column_codes

RNG = np.random.default_rng(0)


def unpacked(codes: np.ndarray, scales: np.ndarray, bits: int) -> np.ndarray:
    """The weights that MatMulNBits multiplies with."""
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(*codes.shape[:2], -1)
    return (codes.astype(np.float32) - (1 << (bits - 1))) * scales[..., None]


def test_columns_are_within_half_a_step() -> None:
    weight = RNG.standard_normal((7, 50)).astype(np.float32)
    weight[3] = 0.0
    codes, scales = column_codes(weight)
    assert np.abs(codes * scales[:, None] - weight).max() <= 0.5001 * scales.max()
    assert not codes[3].any()


@pytest.mark.parametrize(("bits", "most"), [(4, 0.01), (8, 0.00005)])
@pytest.mark.parametrize("inputs", [BLOCK, 3 * BLOCK, 50])
def test_blocks_stand_for_their_weights(bits: int, most: float, inputs: int) -> None:
    weight = RNG.standard_normal((9, inputs)).astype(np.float32)
    weight[0, :] = 0.0
    back = unpacked(*block_codes(weight, bits), bits).reshape(9, -1)
    assert not back[0].any()
    assert not back[:, inputs:].any()
    assert np.square(back[:, :inputs] - weight).mean() <= most * weight.var()


def test_weights_on_the_grid_come_back_exactly() -> None:
    steps = RNG.integers(-8, 8, (5, 2 * BLOCK))
    steps[:, ::BLOCK] = -8
    weight = (steps * 0.25).astype(np.float32)
    back = unpacked(*block_codes(weight, 4), 4).reshape(5, -1)
    assert np.array_equal(back, weight)
