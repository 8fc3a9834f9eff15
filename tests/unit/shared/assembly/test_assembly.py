"""Merging trained weights into packaged ones: exact, the same everywhere, refused where unfit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from driftline_shared.assembly.assemble import checkpoint_place
from driftline_shared.assembly.checkpoint import (
    Trained,
    kept_layers,
    merged,
    read_trained,
    write_trained,
)
from driftline_shared.errors import PairError

RNG = np.random.default_rng(0)
PLACE = "self_attn.q_proj"


def base() -> dict[str, np.ndarray]:
    """Three layers of one matrix each, and what lies outside the layers."""
    rng = np.random.default_rng(1)
    weights = {
        f"layers.{n}.{PLACE}.weight": rng.standard_normal((6, 4)).astype(np.float32)
        for n in range(3)
    }
    return weights | {"norm.weight": np.ones(4, dtype=np.float32)}


def changes(layer: int = 0) -> dict[str, np.ndarray]:
    """Low-rank factors of one layer, and a projector."""
    return {
        f"layers.{layer}.{PLACE}.A": RNG.standard_normal((2, 4)).astype(np.float16),
        f"layers.{layer}.{PLACE}.B": RNG.standard_normal((6, 2)).astype(np.float16),
        "projector.linear_1.weight": RNG.standard_normal((4, 5)).astype(np.float16),
    }


def test_a_change_is_added_to_the_layer_that_was_kept_under_its_number() -> None:
    tensors = changes(layer=1)
    found = merged(base(), Trained(layers=(0, 2), scale=0.5, tensors=tensors))
    low, high = (tensors[f"layers.1.{PLACE}.{side}"].astype(np.float64) for side in "AB")
    wanted = base()[f"layers.2.{PLACE}.weight"] + 0.5 * high @ low
    np.testing.assert_array_equal(found[f"layers.1.{PLACE}.weight"], wanted.astype(np.float16))
    np.testing.assert_array_equal(
        found[f"layers.0.{PLACE}.weight"], base()[f"layers.0.{PLACE}.weight"].astype(np.float16)
    )
    assert set(found) == {f"layers.{n}.{PLACE}.weight" for n in (0, 1)} | {"norm.weight"}
    assert {value.dtype for value in found.values()} == {np.dtype(np.float16)}


def test_layers_are_kept_in_the_order_given_and_numbered_anew() -> None:
    kept = kept_layers(base(), [2, 0])
    np.testing.assert_array_equal(
        kept[f"layers.0.{PLACE}.weight"], base()[f"layers.2.{PLACE}.weight"]
    )
    with pytest.raises(ValueError, match="kept twice"):
        kept_layers(base(), [1, 1])


@pytest.mark.parametrize(
    "tensors",
    [
        {f"layers.7.{PLACE}.A": np.ones((1, 4)), f"layers.7.{PLACE}.B": np.ones((6, 1))},
        {f"layers.0.{PLACE}.A": np.ones((1, 3)), f"layers.0.{PLACE}.B": np.ones((6, 1))},
        {f"layers.0.{PLACE}.A": np.ones((1, 4))},
    ],
    ids=["no such layer", "another width", "half a change"],
)
def test_a_change_that_does_not_fit_is_refused(tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(PairError, match="do not fit SmolLM2"):
        merged(base(), Trained(layers=(0, 1), scale=1.0, tensors=tensors))


def test_trained_weights_come_back_as_written(tmp_path: Path) -> None:
    tensors = changes()
    write_trained(tmp_path / "side.safetensors", tensors, layers=(3, 5), alpha=8.0)
    found = read_trained(tmp_path / "side.safetensors")
    assert (found.layers, found.scale) == ((3, 5), 4.0)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found.tensors[name], value)


def test_another_file_is_no_trained_weights(tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no tensors")
    save_file({"a": np.ones(2)}, tmp_path / "plain.safetensors")
    for name in ("text", "plain", "absent"):
        with pytest.raises(PairError, match=rf"{name}\.safetensors"):
            read_trained(tmp_path / f"{name}.safetensors")


def test_the_place_follows_what_goes_in(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    places = set()
    for _ in range(2):
        write_trained(path, changes(), layers=(0,), alpha=1.0)
        places |= {checkpoint_place(path, cache=tmp_path), checkpoint_place(path, cache=tmp_path)}
    assert len(places) == 2
    assert {place.parent for place in places} == {tmp_path}
