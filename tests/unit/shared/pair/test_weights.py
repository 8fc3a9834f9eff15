"""Safetensors files of a checkpoint: shards by index, headers bounded, any float type read."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from driftline_shared.errors import PairError
from driftline_shared.pair.weights import (
    INDEX,
    MAX_HEADER_BYTES,
    file_headers,
    headers,
    read_tensor,
    weight_files,
)


def sharded(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({"a": torch.ones(2, 3)}, folder / "model-1.safetensors")
    save_file({"b": torch.ones(4, dtype=torch.bfloat16)}, folder / "model-2.safetensors")
    save_file({"c": torch.ones(9)}, folder / "consolidated.safetensors")
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / INDEX).write_text(json.dumps({"weight_map": shards}))
    return folder


def test_the_index_says_which_files_count(tmp_path: Path) -> None:
    found = headers(sharded(tmp_path))
    assert {name: (one.dtype, one.shape) for name, one in found.items()} == {
        "a": ("F32", (2, 3)),
        "b": ("BF16", (4,)),
    }
    assert [one.num_bytes for one in found.values()] == [24, 8]


def test_one_file_goes_before_the_index_and_the_others_as_transformers_takes_it(
    tmp_path: Path,
) -> None:
    save_file({"all": torch.ones(1)}, sharded(tmp_path) / "model.safetensors")
    assert [file.name for file in weight_files(tmp_path)] == ["model.safetensors"]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    (sharded(tmp_path) / "model-2.safetensors").unlink()
    with pytest.raises(PairError, match=r"model-2\.safetensors"):
        weight_files(tmp_path)


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": 3}'])
def test_a_broken_index_is_an_error(tmp_path: Path, index: str) -> None:
    (sharded(tmp_path) / INDEX).write_text(index)
    with pytest.raises(PairError, match="cannot be read"):
        weight_files(tmp_path)


def test_a_shard_outside_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "in")
    save_file({"x": torch.ones(1)}, tmp_path / "out.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": "../out.safetensors"}}))
    with pytest.raises(PairError, match=r"out\.safetensors"):
        weight_files(folder)


def test_a_huge_header_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{}")
    with pytest.raises(PairError, match="header is too large"):
        file_headers(path)


def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(PairError, match="never read"):
        headers(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_any_float_type_is_read_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = torch.randn(3, 5).to(dtype)
    save_file({"before": torch.ones(7, dtype=dtype), "w": stored}, tmp_path / "m.safetensors")
    array = read_tensor(headers(tmp_path)["w"], "w")
    np.testing.assert_array_equal(array, stored.float().numpy())
