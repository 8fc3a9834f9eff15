"""A tiny random Qwen2.5-VL with windows of 2 x 2 tokens and one layer of full attention."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)

from tests.fakes.families import qwen_vl
from tests.fakes.families.qwen_vl import CANVAS as CANVAS
from tests.fakes.families.qwen_vl import MERGE, PATCH, TOWER_WIDTH
from tests.fakes.families.qwen_vl import PROMPT as PROMPT
from tests.fakes.tiny_pair import text_sizes

MODEL_TYPE = "qwen2_5_vl"


def make_checkpoint(folder: Path, *, width: int, layers: int, tower_seed: int = 0) -> Path:
    """One tower for one `tower_seed`, whatever the language model."""
    return qwen_vl.save(folder, _model, width=width, layers=layers, tower_seed=tower_seed)


def library_inputs(
    folder: Path, images: Sequence[NDArray[np.uint8]], question: str
) -> dict[str, Any]:
    """What transformers' own forward takes for the same image and question."""
    return qwen_vl.library_inputs(Qwen2_5_VLProcessor, folder, images, question)


def _model(
    tokenizer: PreTrainedTokenizerFast, width: int, layers: int
) -> Qwen2_5_VLForConditionalGeneration:
    eighth = width // 32  # of half the width of one of two heads
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 3,
            "hidden_size": TOWER_WIDTH,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": 2 * MERGE * PATCH,
            "fullatt_block_indexes": [1],
            "out_hidden_size": width,
        },
        text_config={
            **text_sizes(tokenizer, width=width, layers=layers),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100.0,
                "mrope_section": [2 * eighth, 3 * eighth, 3 * eighth],
            },
        },
        **qwen_vl.token_ids(tokenizer),
    )
    return Qwen2_5_VLForConditionalGeneration(config)
