"""Adapter tensors into graph inputs: packed, scaled, and refused where they do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from driftline_shared.errors import UpdateError
from driftline_shared.pair.export_file import (
    AdapterTable,
    LayoutTable,
    LoraInput,
    LoraPart,
    NormInput,
    adapter_shapes,
    graph_parameters,
    middle_third,
)
from driftline_shared.pair.tower_table import TowerTable

RANK, ALPHA, INPUTS = 2, 6.0, 5
TABLE = AdapterTable(
    rank=RANK,
    alpha=ALPHA,
    lora=(
        LoraInput(
            part="lm",
            a="qkv.lora_a",
            b="qkv.lora_b",
            inputs=INPUTS,
            outputs=9,
            parts=(
                LoraPart(tensor="q_proj", offset=0, outputs=4),
                LoraPart(tensor="v_proj", offset=6, outputs=3),
            ),
        ),
    ),
    norms=(NormInput(part="head", input="norm", tensor="norm", width=5),),
)


def adapter() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in adapter_shapes(TABLE).items()
    }


def test_packed_matrices_add_what_each_pair_adds() -> None:
    held = adapter()
    given = graph_parameters(TABLE, held)
    x = np.random.default_rng(1).standard_normal((3, INPUTS)).astype(np.float32)
    found = x @ given["lm"]["qkv.lora_a"] @ given["lm"]["qkv.lora_b"]
    wanted = np.zeros((3, 9), dtype=np.float32)
    for name, columns in (("q_proj", slice(0, 4)), ("v_proj", slice(6, 9))):
        wanted[:, columns] = x @ held[f"{name}.A"].T @ held[f"{name}.B"].T * (ALPHA / RANK)
    assert np.allclose(found, wanted, atol=1e-5)
    assert not found[:, 4:6].any(), "the layer without LoRA stays as it is"
    assert np.array_equal(given["head"]["norm"], held["norm"])


def test_a_pair_that_changes_nothing_costs_nothing() -> None:
    held = adapter() | {"q_proj.B": np.zeros((4, RANK), dtype=np.float32)}
    given = graph_parameters(TABLE, held)
    assert given["lm"]["qkv.lora_a"].shape == (INPUTS, RANK)
    held["v_proj.B"] = np.zeros((3, RANK), dtype=np.float32)
    assert graph_parameters(TABLE, held)["lm"] == {}


def test_an_adapter_of_another_model_is_refused() -> None:
    held = adapter()
    with pytest.raises(UpdateError, match=r"k_proj\.A"):
        graph_parameters(TABLE, held | {"k_proj.A": held["q_proj.A"]})
    with pytest.raises(UpdateError, match=r"norm: shape \(4,\)"):
        graph_parameters(TABLE, held | {"norm": np.ones(4, dtype=np.float32)})


def test_heads_of_a_tower_share_its_width() -> None:
    assert TowerTable(kind="some_net", width=12, heads=3).heads == 3
    with pytest.raises(ValidationError, match="5 heads do not share a width of 12"):
        TowerTable(kind="some_net", width=12, heads=5)


@pytest.mark.parametrize(
    ("layers", "middle"), [(1, [0]), (2, [0, 1]), (3, [1]), (10, [3, 4, 5, 6])]
)
def test_the_middle_third(layers: int, middle: list[int]) -> None:
    assert list(middle_third(layers)) == middle


@pytest.mark.parametrize(
    ("written", "axes"),
    [("[0,1,2]", ((0, 1, 2),)), ("[[0,0,0],[0,0,1],[0,1,0]]", ((0, 0, 0), (0, 0, 1), (0, 1, 0)))],
)
def test_positions_of_one_axis_or_several_are_read(
    written: str, axes: tuple[tuple[int, ...], ...]
) -> None:
    file = f'{{"ids":[0,0,0],"visual":[0,1,2],"positions":{written},"span":3}}'
    table = LayoutTable.model_validate_json(file)
    assert table.axes == axes
    assert table.model_dump_json() == file


@pytest.mark.parametrize("written", ["[]", "[0,1]", "[[0,1,2],[0,1]]", "[[0,1,2]]", "[0,[1],2]"])
def test_positions_that_are_not_of_every_place_are_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="positions"):
        LayoutTable.model_validate_json(
            f'{{"ids":[0,0,0],"visual":[0,1,2],"positions":{written},"span":3}}'
        )
