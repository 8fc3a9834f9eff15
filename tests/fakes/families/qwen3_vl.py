"""A tiny random Qwen3-VL: features of two inner tower layers go to the first two layers."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from tests.fakes.families import qwen_vl
from tests.fakes.families.qwen_vl import CANVAS as CANVAS
from tests.fakes.families.qwen_vl import PROMPT as PROMPT

MODEL_TYPE = "qwen3_vl"


def _model(tokenizer: Any, width: int, layers: int) -> Qwen3VLForConditionalGeneration:
    settings = qwen_vl.settings(
        tokenizer,
        width,
        layers,
        tower={"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]},
        rope={"mrope_section": [4, 2, 2], "mrope_interleaved": True},
    )
    settings["text_config"]["head_dim"] = 16
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(**settings))


make_checkpoint = partial(qwen_vl.make_checkpoint, _model)
library_inputs = partial(qwen_vl.library_inputs, Qwen3VLProcessor)
