"""A tiny random Idefics3: a wide canvas of two tiles and the whole, tags as plain text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
)
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from driftline_shared.pair.pair import Canvas
from tests.fakes.tiny_pair import loud, make_tokenizer, text_sizes, tower_sizes

MODEL_TYPE = "idefics3"
PROMPT = "<s>User:<image>{question}<end_of_utterance>\nAssistant:"
TILE, PATCH, SCALE = 16, 4, 2
EDGE = 2 * TILE
VIEW_TOKENS = (TILE // PATCH // SCALE) ** 2
CANVAS: Canvas | None = Canvas(height=TILE, width=EDGE)
SPECIAL = ("<fake_token_around_image>", "<image>", "<end_of_utterance>")


def make_checkpoint(folder: Path, *, width: int, layers: int, tower_seed: int = 0) -> Path:
    """One tower for one `tower_seed`, whatever the language model."""
    # As in Idefics3-8B the tokenizer has no token for <global-img>.
    tokenizer = make_tokenizer(SPECIAL)
    config = Idefics3Config(
        vision_config=Idefics3VisionConfig(**tower_sizes(TILE, PATCH)),
        text_config={"model_type": "llama", **text_sizes(tokenizer, width=width, layers=layers)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=SCALE,
        pad_token_id=tokenizer.pad_token_id,
    )
    save(Idefics3ForConditionalGeneration, config, tokenizer, folder, tower_seed)
    Idefics3ImageProcessorPil(**preparation()).save_pretrained(folder)
    return folder


def library_processor(folder: Path) -> Idefics3Processor:
    """The library's own processor."""
    return Idefics3Processor(
        AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil"),
        AutoTokenizer.from_pretrained(folder, local_files_only=True),
        image_seq_len=VIEW_TOKENS,
    )


def library_inputs(folder: Path, image: NDArray[np.uint8], question: str) -> dict[str, Any]:
    """What transformers' own forward takes for the same image and question."""
    text = PROMPT.replace("{question}", question)
    images = [[Image.fromarray(image)]]
    return dict(library_processor(folder)(images=images, text=[text], return_tensors="pt"))


def preparation() -> dict[str, Any]:
    return {"size": {"longest_edge": EDGE}, "max_image_size": {"longest_edge": TILE}}


def save(family: Any, config: Any, tokenizer: Any, folder: Path, tower_seed: int) -> None:
    """Draw and save a model whose tower depends on `tower_seed` alone, and its tokenizer."""
    with torch.random.fork_rng():
        torch.manual_seed(tower_seed)
        model = family(config)
        torch.manual_seed(tower_seed)
        tower = type(model.model.vision_model)._from_config(config.vision_config)
        model.model.vision_model.load_state_dict(tower.state_dict())
    loud(model, "text_model").train()
    ends = tokenizer.convert_tokens_to_ids("<end_of_utterance>")
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, ends]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
