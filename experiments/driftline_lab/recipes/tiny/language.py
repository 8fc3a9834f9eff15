"""The two LLaVA models of the pair: one tower, two projectors, two language models."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
    SiglipVisionModel,
)

NUM_VISUAL = 64
MAX_ANSWER_TOKENS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageSize:
    """Width and depth of a language model; heads are 32 wide."""

    width: int
    num_layers: int
    intermediate: int


STUDENT = LanguageSize(width=192, num_layers=2, intermediate=512)
TEACHER = LanguageSize(width=256, num_layers=4, intermediate=704)


def build_llava(
    size: LanguageSize,
    tokenizer: PreTrainedTokenizerFast,
    tower: SiglipVisionModel,
    *,
    seed: int,
) -> LlavaForConditionalGeneration:
    """A LLaVA with the given frozen tower and fresh projector and language model."""
    torch.manual_seed(seed)
    vision = deepcopy(tower.config)
    vision.name_or_path = ""  # a folder of this machine
    text = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 8) * 8,
        hidden_size=size.width,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.width // 32,
        num_key_value_heads=size.width // 32,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    return model


def load_checkpoint(folder: Path) -> LlavaForConditionalGeneration:
    """A model read back from its folder, computing in fp32, its tower frozen."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.model.vision_tower.requires_grad_(False)
    return model


def save_checkpoint(
    folder: Path, model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Writes a complete Hugging Face folder; weights fp16, in which cached tokens were read too."""
    side = model.config.vision_config.image_size
    processor = SiglipImageProcessor(
        size={"height": side, "width": side},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    save_folder(folder, model, tokenizer, processor, max_new_tokens=MAX_ANSWER_TOKENS)


def save_folder(
    folder: Path,
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    processor: Any,
    *,
    max_new_tokens: int,
) -> None:
    """Writes model (as fp16), tokenizer and image processor as a complete Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=max_new_tokens,
    )
    half = {name: value.detach().half() for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=half)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
