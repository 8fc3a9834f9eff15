"""A tiny pair with random weights: real LLaVA checkpoints, saved and loaded as any other.

Its answers are meaningless; shapes, files and paths are real; it takes a second. Never shipped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import (
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from driftline_shared.models.loading import load_model
from driftline_shared.pair.pair import token_space_digest

SIZE = 32
PATCH = 8
NUM_TOKENS = (SIZE // PATCH) ** 2
TOWER_WIDTH = 32
PROMPT = "<s><image>{question}\n"
QUESTIONS = ("what shape is it?", "is it red?", "what color is the circle?")
ANSWERS = ("circle", "yes", "teal")

_SPEC = """name = "random"
prompt = "<s><image>{{question}}\\n"
max_new_tokens = 4
[student]
quantization = "{quantization}"
[token_space]
digest = "{digest}"
grid = {{ rows = {side}, cols = {side} }}
[adapter]
rank = 4
alpha = 8.0
norms = true
seed = 0
dropout = 0.1
"""


def random_image(seed: int) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def make_tiny_pair(folder: Path, *, quantization: str = "nf4", num_images: int = 12) -> Path:
    """Write a whole random pair into `folder` and return it."""
    save_llava(folder / "teacher", width=64, layers=3)
    save_llava(folder / "student", width=32, layers=2)
    digest = token_space_digest(folder / "student")
    spec = _SPEC.format(quantization=quantization, digest=digest, side=SIZE // PATCH)
    (folder / "pair.toml").write_text(spec)
    _write_sets(folder, num_images)
    return folder


def save_llava(folder: Path, *, width: int, layers: int, tower_seed: int = 0) -> None:
    """Save one random checkpoint; its tower depends on `tower_seed` alone."""
    tokenizer = make_tokenizer(("<image>",))
    build = partial(tiny_llava, tokenizer)
    model = with_tower(build, width, layers, tower_seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(folder)


def with_tower(build: Callable[[int, int], Any], width: int, layers: int, seed: int) -> Any:
    """What `build` draws, with the tower that it draws for the smallest language model."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build(width, layers)
        torch.manual_seed(seed)
        tower = build(32, 1).model.vision_tower.state_dict()
    model.model.vision_tower.load_state_dict(tower)
    return model


def _write_sets(folder: Path, num_images: int) -> None:
    images = [random_image(seed) for seed in range(num_images)]
    model = load_model(folder / "student", prompt=PROMPT)
    tokens = model.encode(images).numpy()
    asked = range(len(QUESTIONS))
    rows = [_row(index, k) for index in range(num_images) for k in asked]
    save_file({"tokens": tokens.astype(np.float16)}, folder / "source.safetensors")
    (folder / "source.jsonl").write_text("".join(rows))
    values = tokens.reshape(-1, tokens.shape[-1])
    pooled = tokens.mean(axis=1)
    space = {
        "low": values.min(axis=0),
        "high": values.max(axis=0),
        "mean": pooled.mean(axis=0),
        "precision": np.eye(tokens.shape[-1], dtype=np.float32),
    }
    save_file(
        {k: np.ascontiguousarray(v) for k, v in space.items()}, folder / "token_space.safetensors"
    )
    scores = np.linspace(0.0, 1.0, 101, dtype=np.float32)
    kinds = ("entropy", "margin", "mutual_information", "ood")
    save_file({kind: scores.copy() for kind in kinds}, folder / "gate.safetensors")
    probe = folder / "probe"
    probe.mkdir()
    probed = images[:4]
    for index, image in enumerate(probed):
        Image.fromarray(image).save(probe / f"{index}.png")
    rows = [_row(f"{index}.png", index % 3) for index in range(len(probed))]
    (probe / "probe.jsonl").write_text("".join(rows))


def _row(image: int | str, k: int) -> str:
    return json.dumps({"image": image, "question": QUESTIONS[k], "answer": ANSWERS[k]}) + "\n"


def make_tokenizer(special: Sequence[str]) -> PreTrainedTokenizerFast:
    """A small byte-level BPE tokenizer with `special` as tokens of their own."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<s>", "</s>", *special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*QUESTIONS, *ANSWERS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def text_sizes(tokenizer: Any, *, width: int, layers: int, padded: int = 0) -> dict[str, Any]:
    """Settings of a language model; `padded`: rows of its output layer without a token."""
    return {
        "vocab_size": len(tokenizer) + padded,
        "hidden_size": width,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def tower_sizes(size: int, patch: int, width: int = TOWER_WIDTH) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": size,
        "patch_size": patch,
    }


def loud(model: Any, part: str = "language_model") -> Any:
    """A freshly drawn model says the same of everything; larger weights make answers differ."""
    for name, parameter in model.named_parameters():
        if part in name and parameter.dim() == 2:
            parameter.data.mul_(6.0)
    return model.eval()


def tiny_llava(
    tokenizer: Any,
    width: int,
    layers: int,
    *,
    padded: int = 0,
    size: int = SIZE,
    patch: int = PATCH,
    tower_width: int = TOWER_WIDTH,
) -> LlavaForConditionalGeneration:
    tower = tower_sizes(size, patch, tower_width)
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(**tower, vision_use_head=False),
        text_config=LlamaConfig(**text_sizes(tokenizer, width=width, layers=layers, padded=padded)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=(size // patch) ** 2,
    )
    return loud(LlavaForConditionalGeneration(config))
