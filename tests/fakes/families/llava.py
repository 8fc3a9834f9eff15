"""A tiny random LLaVA: SigLIP tower, two-layer projector, LLaMA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer

from driftline_shared.pair.pair import Canvas
from tests.fakes.tiny_pair import NUM_TOKENS, save_llava
from tests.fakes.tiny_pair import PROMPT as PROMPT

MODEL_TYPE = "llava"
CANVAS: Canvas | None = None


def make_checkpoint(folder: Path, *, width: int, layers: int, tower_seed: int = 0) -> Path:
    """One tower for one `tower_seed`, whatever the language model."""
    save_llava(folder, width=width, layers=layers, tower_seed=tower_seed)
    return folder


def library_inputs(folder: Path, image: NDArray[np.uint8], question: str) -> dict[str, Any]:
    """What transformers' own forward takes for the same image and question."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    text = PROMPT.replace("<image>", "<image>" * NUM_TOKENS).replace("{question}", question)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    pixels = processor(images=[Image.fromarray(image)], return_tensors="pt")["pixel_values"]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": pixels,
    }
