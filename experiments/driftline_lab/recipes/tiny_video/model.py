"""The video reference model: a LLaVA-OneVision of 3 million parameters, and its tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionModel,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from driftline_lab.data.tiny_video.clips import NUM_FRAMES
from driftline_lab.data.tiny_video.questions import all_answers, all_questions
from driftline_lab.data.tiny_video.scene import SIDE
from driftline_lab.recipes.tiny.language import save_folder
from driftline_lab.recipes.tiny.tokenizer import byte_level_bpe
from driftline_lab.recipes.tiny.tower import tower_config
from driftline_shared.errors import PairError
from driftline_shared.pair.pair import Canvas
from driftline_shared.pair.shipped import NOT_INSTALLED, shipped_root

PROMPT = "<s><image>{question}\n"
CANVAS = Canvas(height=SIDE, width=SIDE, frames=NUM_FRAMES)
"""What to give `load_model`, beside the folder."""

MAX_ANSWER_TOKENS = 4
CELLS = 4
"""Cells a side of a frame: 8 x 8 patches, pooled."""

_WIDTH, _HEAD = 192, 32
_NUM_LAYERS = 6


def shipped_folder() -> Path:
    """The checkpoint folder of the shipped model. Raises PairError where none is installed."""
    root = shipped_root()
    if root is None:
        raise PairError(f"tiny-video: no {NOT_INSTALLED}")
    return root / "tiny_video"


def train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that has read every question and answer: a word is one token."""
    return byte_level_bpe(
        [*all_questions(), *all_answers() * 4],
        {"image_token": "<image>", "video_token": "<video>"},
        max_length=1024,
    )


def build_model(
    tokenizer: PreTrainedTokenizerFast, tower: SiglipVisionModel, *, seed: int
) -> LlavaOnevisionForConditionalGeneration:
    """The given frozen tower, with a fresh projector, newline and language model."""
    torch.manual_seed(seed)
    text = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 8) * 8,
        hidden_size=_WIDTH,
        intermediate_size=416,
        num_hidden_layers=_NUM_LAYERS,
        num_attention_heads=_WIDTH // _HEAD,
        num_key_value_heads=_WIDTH // _HEAD // 3,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaOnevisionConfig(
        vision_config=tower_config(),
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[SIDE, SIDE]],
        tie_word_embeddings=False,
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.vision_tower.requires_grad_(False)
    return model


def save_checkpoint(
    folder: Path,
    model: LlavaOnevisionForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Writes a complete Hugging Face folder; weights fp16."""
    processor = LlavaOnevisionImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        image_grid_pinpoints=[[SIDE, SIDE]],
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    save_folder(folder, model, tokenizer, processor, max_new_tokens=MAX_ANSWER_TOKENS)
