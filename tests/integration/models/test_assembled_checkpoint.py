"""A checkpoint assembled from the real packages: the same bytes, whoever makes it; and it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from driftline_shared.assembly import smollm2
from driftline_shared.assembly.assemble import assembled
from driftline_shared.assembly.checkpoint import Parts, read_parts, write_trained
from driftline_shared.errors import PairError
from driftline_shared.models.loading import load_model

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PROMPT = "<|im_start|>user\n<image>{question}<|im_end|>\n"
MAKE = """
import sys
from pathlib import Path
from driftline_shared.assembly.assemble import assembled
print(assembled(Path(sys.argv[1]), cache=Path(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def parts() -> Parts:
    return read_parts()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random small changes of a student of two layers."""
    rng = np.random.default_rng(0)
    tensors = {
        "projector.linear_1.weight": rng.standard_normal((576, 432)) / 40,
        "projector.linear_1.bias": np.zeros(576),
        "projector.linear_2.weight": rng.standard_normal((576, 576)) / 100,
        "projector.linear_2.bias": np.zeros(576),
        "layers.1.mlp.up_proj.A": rng.standard_normal((4, 576)) / 24,
        "layers.1.mlp.up_proj.B": rng.standard_normal((1536, 4)) / 24,
    }
    path = tmp_path_factory.mktemp("pair") / "student.safetensors"
    write_trained(path, tensors, layers=(0, 29), alpha=4.0)
    return path


@pytest.fixture(scope="module")
def checkpoint(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by two processes at once."""
    cache = tmp_path_factory.mktemp("cache")
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, str(trained), str(cache)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [maker.communicate(timeout=240) for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0], told
    (place,) = {Path(out.strip()) for out, _ in told}
    assert list(cache.iterdir()) == [place]
    return place


def test_assembling_again_gives_the_same_bytes(
    checkpoint: Path, trained: Path, tmp_path: Path
) -> None:
    run = [sys.executable, "-c", MAKE, str(trained), str(tmp_path)]
    again = Path(subprocess.check_output(run, text=True, timeout=240).strip())
    assert again.name == checkpoint.name
    for path in sorted(checkpoint.iterdir()):
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_nothing_is_left_behind_when_assembling_fails(tmp_path: Path) -> None:
    path = tmp_path / "student.safetensors"
    tensors = {"layers.0.mlp.up_proj.A": np.ones((2, 5)), "layers.0.mlp.up_proj.B": np.ones((3, 2))}
    write_trained(path, tensors, layers=(0,), alpha=1.0)
    with pytest.raises(PairError, match="do not fit SmolLM2"):
        assembled(path, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_loader_gives_the_logits_of_transformers(checkpoint: Path) -> None:
    ours = load_model(checkpoint, prompt=PROMPT)
    picture = np.random.default_rng(1).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    tokens = ours.encode([picture])
    assert tokens.shape == (1, 49, 432)
    batch = ours.batch(ours.project(tokens), torch.arange(49)[None], ["what is it?"])
    found = ours.forward(batch).logits
    theirs = LlavaForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, use_safetensors=True, local_files_only=True
    ).eval()
    text = PROMPT.replace("<image>", "<image>" * 49).format(question="what is it?")
    ids = ours.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    pixels = ours.processor(images=[picture], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        wanted = theirs(input_ids=ids, pixel_values=pixels).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_the_language_model_still_knows_what_it_was_taught(parts: Parts) -> None:
    from transformers import LlamaForCausalLM

    tokenizer = smollm2.tokenizer(parts.reader)
    model = LlamaForCausalLM(smollm2.language_config())
    weights = {f"model.{k}": torch.tensor(v) for k, v in parts.language.items()}
    model.load_state_dict(weights, strict=False)
    asked = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(asked, return_tensors="pt")
    with torch.inference_mode():
        said = model.eval().generate(**ids, max_new_tokens=8, do_sample=False)
    answer = tokenizer.decode(said[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer == "The capital of France is Paris."


def test_text_survives_the_tokenizer(parts: Parts) -> None:
    tokenizer = smollm2.tokenizer(parts.reader)
    text = "A naïve owl's 1234 feathers,\n  twice."
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len([i for i in ids if tokenizer.decode([i]).strip().isdigit()]) == 4
    assert tokenizer.encode("<|im_start|>user\n<image>") == [1, 4093, 198, smollm2.IMAGE_ID]
