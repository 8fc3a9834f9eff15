"""Codes stand for the weights they were made of, as closely as their bits allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from driftline_shared.models.export.agreement import session
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.export.linear import (
    BLOCK,
    Kind,
    Linear,
    add_linear,
    block_codes,
    column_codes,
)
from driftline_shared.models.export.outliers import find_outliers, largest_inputs

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


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_outliers_of_a_row_do_not_take_the_digits_of_the_rest(kind: Kind, tmp_path: Path) -> None:
    """Two channels a hundred times the others: with them apart it is as near as without them."""
    x = RNG.standard_normal((6, 64)).astype(np.float32)
    loud = (5, 40)
    x[:, loud] *= 100.0
    weight = RNG.standard_normal((16, 64)).astype(np.float32)
    exact = x @ weight.T

    def error(outliers: tuple[int, ...]) -> float:
        layer = Linear(
            name="layer", inputs=64, outputs=16, weight=lambda: weight, outliers=outliers
        )
        graph = Graph("one")
        y = add_linear(graph, graph.input("x", ["N", 64]), layer, kind)
        graph.node("Identity", [y], name="y")
        graph.output("y", ["N", 16])
        file = tmp_path / f"{len(outliers)}.onnx"
        graph.save(file)
        (found,) = session(file).run(None, {"x": x})
        return float(np.abs(found - exact).max())

    assert error(loud) < 0.1 * error(())


def test_the_largest_inputs_are_outliers() -> None:
    sizes = np.ones(130, dtype=np.float32)
    sizes[[7, 99]] = 5.0, 3.0
    assert largest_inputs(sizes) == (7, 99)
    assert largest_inputs(np.ones(3, dtype=np.float32)) == (0,)


def test_outliers_are_found_where_the_model_runs() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(128, 128), torch.nn.Linear(128, 4))
    x = torch.ones(2, 3, 128)
    x[:, :, 11] = -50.0
    x[1, 0, 70] = 40.0
    head = torch.nn.Linear(4, 2)
    found = find_outliers(net, [lambda: head(net(x))], head=head)
    assert found["0"] == (11, 70)
    assert set(found) == {"0", "1", "head"}
    assert not net[0]._forward_pre_hooks
