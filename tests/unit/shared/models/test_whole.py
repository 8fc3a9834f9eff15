"""A checkpoint that is not whole never answers, and the tensors at fault are named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from driftline_shared.errors import PairError
from driftline_shared.models.check.checks import check_pair
from driftline_shared.models.loading import load_model
from driftline_shared.pair.pair import Canvas, load_draft
from tests.fakes.tiny_pair import PROMPT, make_tiny_pair, random_image

Tensors = dict[str, Tensor]
PART = "layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def whole_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pair(tmp_path_factory.mktemp("whole") / "pair")


@pytest.fixture
def pair(whole_pair: Path, tmp_path: Path) -> Path:
    """A pair to break."""
    return Path(shutil.copytree(whole_pair, tmp_path / "pair"))


def change(student: Path, how: Callable[[Tensors], Tensors]) -> None:
    file = student / "model.safetensors"
    save_file(how(load_file(file)), file, metadata={"format": "pt"})


def configure(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def found_by_check(pair: Path) -> str:
    """What `models check` calls an error of the student."""
    report = check_pair(load_draft(pair))
    return " ".join(f.what for f in report.findings if f.level == "error" and "student" in f.what)


def named(tensors: Tensors) -> str:
    (name,) = (name for name in tensors if name.endswith(PART))
    return name


def without_a_part(tensors: Tensors) -> Tensors:
    return {name: values for name, values in tensors.items() if name != named(tensors)}


def with_a_stray(tensors: Tensors) -> Tensors:
    stray = named(tensors).replace("layers.0", "layers.7")
    return {**tensors, stray: torch.zeros(2, 2)}


def with_a_narrow_part(tensors: Tensors) -> Tensors:
    return {**tensors, named(tensors): tensors[named(tensors)][:, 1:].contiguous()}


def with_a_hole(tensors: Tensors) -> Tensors:
    broken = tensors[named(tensors)].clone()
    broken[3, 3] = float("nan")
    return {**tensors, named(tensors): broken}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (without_a_part, "its files lack .*layers.0.mlp.up_proj"),
        (with_a_stray, "no place for .*layers.7.mlp.up_proj"),
        (with_a_narrow_part, "other shapes .*layers.0.mlp.up_proj"),
        (with_a_hole, "layers.0.mlp.up_proj.weight holds NaN or infinity"),
    ],
)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_checkpoint_that_is_not_whole_is_not_loaded(
    pair: Path, how: Callable[[Tensors], Tensors], told: str, quantization: str
) -> None:
    change(pair / "student", how)
    with pytest.raises(PairError, match=told):
        load_model(pair / "student", prompt=PROMPT, quantization=quantization)  # type: ignore[arg-type]
    if quantization == "none":
        assert re.search(told, found_by_check(pair))


@pytest.mark.parametrize("part", ["layers.0.mlp.up_proj", "embed_tokens"])
def test_a_value_that_is_no_number_is_found_in_quantized_weights_too(pair: Path, part: str) -> None:
    def broken(tensors: Tensors) -> Tensors:
        (name,) = (name for name in tensors if f"{part}.weight" in name)
        tensors[name][0, 0] = float("inf")
        return tensors

    change(pair / "student", broken)
    for quantization in ("nf4", "int8", "none"):
        with pytest.raises(PairError, match="NaN or infinity"):
            load_model(pair / "student", prompt=PROMPT, quantization=quantization)  # type: ignore[arg-type]


def test_what_older_releases_stored_beside_the_weights_is_passed_over(pair: Path) -> None:
    name = "model.language_model.layers.0.self_attn.rotary_emb.inv_freq"
    change(pair / "student", lambda tensors: {**tensors, name: torch.zeros(4)})
    load_model(pair / "student", prompt=PROMPT)
    assert found_by_check(pair) == ""


def test_a_tokenizer_of_another_checkpoint_is_refused(pair: Path) -> None:
    file = pair / "student" / "tokenizer.json"
    table = json.loads(file.read_text())
    added = table["added_tokens"]
    added.append({**added[-1], "id": 5_000, "content": "<far>"})
    file.write_text(json.dumps(table))
    with pytest.raises(PairError, match=r"tokenizer knows \d+ tokens, the embedding has \d+ rows"):
        load_model(pair / "student", prompt=PROMPT)


@pytest.mark.parametrize(
    "table",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "fp8"},
        {},
    ],
)
def test_a_checkpoint_that_was_saved_quantized_is_named(pair: Path, table: dict) -> None:
    configure(pair / "student" / "config.json", quantization_config=table)
    with pytest.raises(PairError, match=f"saved quantized: {table.get('quant_method', 'of some')}"):
        load_model(pair / "student", prompt=PROMPT)
    assert "saved quantized" in found_by_check(pair)


def test_packed_weights_are_found_without_a_word_in_the_config(pair: Path) -> None:
    change(pair / "student", lambda t: {**t, named(t): torch.zeros(8, 1, dtype=torch.uint8)})
    with pytest.raises(PairError, match=r"saved quantized: 1 tensors .*U8.*up_proj"):
        load_model(pair / "student", prompt=PROMPT)


def test_an_adapter_beside_the_weights_is_not_put_on_them_unseen(pair: Path) -> None:
    (pair / "student" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(PairError, match=r"adapter_config\.json"):
        load_model(pair / "student", prompt=PROMPT)


def test_a_picture_of_another_size_than_the_towers_is_named(pair: Path) -> None:
    configure(pair / "student" / "preprocessor_config.json", size={"height": 48, "width": 48})
    with pytest.raises(PairError, match="cannot read what its image processor prepares"):
        load_model(pair / "student", prompt=PROMPT)


def test_a_strategy_that_drops_a_patch_is_named_with_the_right_one(pair: Path) -> None:
    configure(pair / "student" / "config.json", vision_feature_select_strategy="default")
    with pytest.raises(PairError, match="no class token") as raised:
        load_model(pair / "student", prompt=PROMPT)
    assert "'full'" in raised.value.fix
    report = check_pair(load_draft(pair))
    assert any("no class token" in finding.what for finding in report.findings)


def test_a_whole_one_reads_pictures(pair: Path) -> None:
    model = load_model(pair / "student", prompt=PROMPT, canvas=Canvas(height=32, width=32))
    assert model.encode([random_image(0)]).shape[1] == model.num_tokens
    assert np.isfinite(model.encode([random_image(1)]).numpy()).all()
    assert found_by_check(pair) == ""
