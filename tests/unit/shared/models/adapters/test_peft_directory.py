"""A released adapter in plain transformers + peft answers as the device does, and comes back."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

from driftline_shared.errors import UpdateError
from driftline_shared.models.adapters import slots
from driftline_shared.models.adapters.peft_directory import (
    export_adapter,
    import_adapter,
    read_adapter,
)
from driftline_shared.models.loading import load_student
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import Pair
from driftline_shared.update import adapter_digest
from tests.fakes.adapters import trained
from tests.fakes.families import llava, whole_logits
from tests.fakes.tiny_pair import QUESTIONS, random_image


@pytest.fixture(scope="module", params=["none", "nf4"])
def student(request: pytest.FixtureRequest, pair: Pair) -> MultimodalModel:
    """A device's model whose adapter has learnt something."""
    model = load_student(replace(pair, quantization=request.param))
    slots.write(model.model, trained(slots.read(model.model), seed=0, step=0.1))
    return model


# peft asks transformers for a property by its old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@torch.no_grad()
def test_plain_peft_gives_the_devices_logits(
    student: MultimodalModel, pair: Pair, tmp_path: Path
) -> None:
    adapter = slots.read(student.model)
    export_adapter(adapter, pair, tmp_path / "peft")
    quantized = any("Linear4bit" in type(m).__name__ for m in student.model.modules())
    base = AutoModelForImageTextToText.from_pretrained(
        pair.student_dir, quantization_config=_nf4() if quantized else None
    )
    for module in base.modules():
        if quantized and hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # as `quantize.exact_` does, on any CPU
    plain = PeftModel.from_pretrained(base, tmp_path / "peft").eval()
    bare = AutoModelForImageTextToText.from_pretrained(pair.student_dir).eval()
    for seed, question in enumerate(QUESTIONS):
        image = random_image(seed)
        inputs = llava.library_inputs(pair.student_dir, image, question)
        wanted = plain(**inputs).logits
        ours = whole_logits(student, image, question)
        assert float((ours - wanted).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))
        assert not torch.allclose(wanted, bare(**inputs).logits, atol=1e-2), "it does something"


def test_what_peft_reads_comes_back_bit_for_bit(
    student: MultimodalModel, pair: Pair, tmp_path: Path
) -> None:
    adapter = slots.read(student.model)
    export_adapter(adapter, pair, tmp_path)
    assert adapter_digest(import_adapter(tmp_path, pair)) == adapter_digest(adapter)


def test_what_peft_itself_saves_is_read(
    student: MultimodalModel, pair: Pair, tmp_path: Path
) -> None:
    student.model.save_pretrained(tmp_path)
    found = import_adapter(tmp_path, pair)
    assert adapter_digest(found) == adapter_digest(slots.read(student.model))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"r": 8}, "r is 8"),
        ({"lora_alpha": 99}, "lora_alpha is 99"),
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "IA3"}, "peft_type"),
        ({"rank_pattern": {"q_proj": 2}}, "one rank"),
    ],
)
def test_an_adapter_of_another_make_is_refused(
    student: MultimodalModel, pair: Pair, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    export_adapter(slots.read(student.model), pair, tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UpdateError, match=said):
        import_adapter(tmp_path, pair)


def test_missing_tensors_and_broken_files_are_named(
    student: MultimodalModel, pair: Pair, tmp_path: Path
) -> None:
    export_adapter(slots.read(student.model), pair, tmp_path / "whole")
    for name, spoil, said in (
        ("less", lambda t: dict(list(t.items())[1:]), "lacks"),
        ("more", lambda t: t | {"extra.weight": np.zeros(2, np.float32)}, "extra.weight"),
        ("flat", lambda t: {k: v.reshape(-1) for k, v in t.items()}, "the pair has"),
    ):
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        path = tmp_path / name / "adapter_model.safetensors"
        save_file(spoil(load_file(path)), path)
        with pytest.raises(UpdateError, match=said):
            import_adapter(tmp_path / name, pair)
    (tmp_path / "less" / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(UpdateError, match="cannot be read"):
        import_adapter(tmp_path / "less", pair)


def test_another_pairs_adapter_and_a_full_folder_are_refused(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="there is no file") as caught:
        read_adapter(tmp_path / "none.safetensors")
    assert "version 0" in caught.value.fix
    with pytest.raises(UpdateError, match="not one of pair"):
        export_adapter({"norm": np.zeros(3, np.float32)}, pair, tmp_path / "new")
    (tmp_path / "thesis.txt").write_text("keep me")
    with pytest.raises(UpdateError, match="holds other files"):
        export_adapter({}, pair, tmp_path)


def _nf4() -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=["model.vision_tower", "model.multi_modal_projector", "lm_head"],
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_that_is_not_finite_is_refused(
    pair: Pair, student: MultimodalModel, tmp_path: Path, value: float
) -> None:
    export_adapter(slots.read(student.model), pair, tmp_path / "peft")
    file = tmp_path / "peft" / "adapter_model.safetensors"
    held = {name: values.astype(np.float16) for name, values in load_file(file).items()}
    name = next(name for name in held if "lora_B" in name)
    held[name][0, 0] = value
    save_file(held, file)
    with pytest.raises(UpdateError, match=r"lora_B.* NaN or infinity"):
        import_adapter(tmp_path / "peft", pair)
    with pytest.raises(UpdateError, match="NaN or infinity"):
        read_adapter(file)
