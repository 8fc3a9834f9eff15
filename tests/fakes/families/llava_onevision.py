"""A tiny random LLaVA-OneVision: SigLIP tower of 5 x 5 patches, two-layer projector, Qwen2.

The canvas is cut to tiles of which padding is taken out again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from driftline_shared.pair.pair import Canvas
from tests.fakes.tiny_pair import loud, make_tokenizer, text_sizes, tower_sizes, with_tower

MODEL_TYPE = "llava_onevision"
PROMPT = "<|im_start|>user\n<image>\n{question}<|im_end|>\n<|im_start|>assistant\n"
CANVAS: Canvas | None = Canvas(height=30, width=40)

PATCH, SIDE = 4, 5
SIZE = SIDE * PATCH
LIMIT = 4
"""Tiles above which the library pools."""
SPECIAL = ("<image>", "<video>", "<|im_start|>", "<|im_end|>")


def make_checkpoint(
    folder: Path, *, width: int, layers: int, tower_seed: int = 0, side: int = SIDE
) -> Path:
    """One tower of `side` x `side` patches for one `tower_seed`, whatever the language model."""
    tokenizer = make_tokenizer(SPECIAL)
    model = with_tower(lambda w, n: _model(tokenizer, w, n, side), width, layers, tower_seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    LlavaOnevisionImageProcessorPil(
        size={"height": side * PATCH, "width": side * PATCH},
        image_grid_pinpoints=_pinpoints(side * PATCH),
    ).save_pretrained(folder)
    return folder


class _WithoutVideo(LlavaOnevisionProcessor):
    """The library's processor without its video part, which cannot even be named here."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """The check imports the class of the video part, which needs torchvision."""
        if argument_name == "video_processor":
            return None
        return super().check_argument_for_proper_class(argument_name, argument)


def library_processor(folder: Path) -> LlavaOnevisionProcessor:
    """The library's own processor for pictures."""
    return _WithoutVideo(
        image_processor=AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, backend="pil"
        ),
        tokenizer=AutoTokenizer.from_pretrained(folder, local_files_only=True),
        num_image_tokens=SIDE**2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio=f"anyres_max_{LIMIT}",
    )


def library_inputs(folder: Path, image: NDArray[np.uint8], question: str) -> dict[str, Any]:
    """What transformers' own processor makes of the same image and question."""
    text = PROMPT.replace("{question}", question)
    pictures = [Image.fromarray(image)]
    return dict(library_processor(folder)(images=pictures, text=[text], return_tensors="pt"))


def _model(
    tokenizer: PreTrainedTokenizerFast, width: int, layers: int, side: int
) -> LlavaOnevisionForConditionalGeneration:
    tower = tower_sizes(side * PATCH, PATCH)
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**tower, vision_use_head=False),
        text_config=Qwen2Config(**text_sizes(tokenizer, width=width, layers=layers)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=_pinpoints(side * PATCH),
        vision_aspect_ratio=f"anyres_max_{LIMIT}",
    )
    return loud(LlavaOnevisionForConditionalGeneration(config))


def _pinpoints(size: int) -> list[list[int]]:
    """1 x 1 to 4 x 4 tiles."""
    return [[size * rows, size * cols] for rows in range(1, 5) for cols in range(1, 5)]
