"""A tiny random SmolVLM2: four tiles and the whole, each tag a token, input and output tied.

transformers' SmolVLMProcessor needs torchvision and num2words to be built, so the library's inputs
are put together from what it calls for images.
"""

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
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from driftline_shared.pair.pair import Canvas
from tests.fakes.families import idefics3
from tests.fakes.tiny_pair import make_tokenizer, text_sizes, tower_sizes

MODEL_TYPE = "smolvlm"
PROMPT = idefics3.PROMPT
CANVAS: Canvas | None = None
SPECIAL = (
    *idefics3.SPECIAL,
    "<global-img>",
    *(f"<row_{row}_col_{col}>" for row in (1, 2) for col in (1, 2)),
)


def make_checkpoint(folder: Path, *, width: int, layers: int, tower_seed: int = 0) -> Path:
    """One tower for one `tower_seed`, whatever the language model."""
    tokenizer = make_tokenizer(SPECIAL)
    config = SmolVLMConfig(
        vision_config=SmolVLMVisionConfig(**tower_sizes(idefics3.TILE, idefics3.PATCH)),
        text_config={"model_type": "llama", **text_sizes(tokenizer, width=width, layers=layers)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=idefics3.SCALE,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    idefics3.save(SmolVLMForConditionalGeneration, config, tokenizer, folder, tower_seed)
    SmolVLMImageProcessorPil(**idefics3.preparation()).save_pretrained(folder)
    return folder


def library_inputs(folder: Path, image: NDArray[np.uint8], question: str) -> dict[str, Any]:
    """What transformers' own forward takes for the same image and question."""
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    pictures = [[Image.fromarray(image)]]
    read = processor(images=pictures, return_row_col_info=True, return_tensors="pt")
    text = get_image_prompt_string(
        read["rows"][0][0],
        read["cols"][0][0],
        idefics3.VIEW_TOKENS,
        fake_token_around_image="<fake_token_around_image>",
        image_token="<image>",
        global_image_token="<global-img>",
    )
    text = PROMPT.replace("<image>", text).replace("{question}", question)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": read["pixel_values"],
        "pixel_attention_mask": read["pixel_attention_mask"],
    }
