"""A tiny random Qwen2.5-VL with windows of 2 x 2 tokens and one layer of full attention."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)

from tests.fakes.families import qwen_vl
from tests.fakes.families.qwen_vl import CANVAS as CANVAS
from tests.fakes.families.qwen_vl import MERGE, PATCH
from tests.fakes.families.qwen_vl import PROMPT as PROMPT

MODEL_TYPE = "qwen2_5_vl"


def _model(tokenizer: Any, width: int, layers: int) -> Qwen2_5_VLForConditionalGeneration:
    eighth = width // 32  # of half the width of one of two heads
    settings = qwen_vl.settings(
        tokenizer,
        width,
        layers,
        tower={"window_size": 2 * MERGE * PATCH, "fullatt_block_indexes": [1]},
        rope={"mrope_section": [2 * eighth, 3 * eighth, 3 * eighth]},
    )
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**settings))


make_checkpoint = partial(qwen_vl.make_checkpoint, _model)
library_inputs = partial(qwen_vl.library_inputs, Qwen2_5_VLProcessor)
