"""What the fakes of both Qwen-VL families share: tokenizer, image processor, saving, inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from driftline_shared.pair.pair import Canvas
from tests.fakes.tiny_pair import loud, make_tokenizer, text_sizes

PATCH, MERGE, TOWER_WIDTH = 8, 2, 32
CANVAS = Canvas(height=48, width=80)
"""3 x 5 groups: rows and columns differ, and so do windows at the edges from those inside."""

PROMPT = (
    "<|im_start|>user\n<|vision_start|><image><|vision_end|>{question}<|im_end|>\n"
    "<|im_start|>assistant\n"
)
_SPECIAL = (
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

Build = Callable[[PreTrainedTokenizerFast, int, int], PreTrainedModel]
"""(tokenizer, width, layers) -> a freshly drawn model."""


def make_checkpoint(
    build: Build, folder: Path, *, width: int, layers: int, tower_seed: int = 0
) -> Path:
    """One tower for one `tower_seed`, whatever the language model; its mergers differ."""
    tokenizer = make_tokenizer(_SPECIAL)
    with torch.random.fork_rng():
        torch.manual_seed(tower_seed)
        model: Any = build(tokenizer, width, layers)
        torch.manual_seed(tower_seed)
        small: Any = build(tokenizer, 32, 2)
    tower = {k: v for k, v in small.model.visual.state_dict().items() if "merger" not in k}
    model.model.visual.load_state_dict(tower, strict=False)
    loud(loud(model), "merger").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=2,
        size={"shortest_edge": 4 * (PATCH * MERGE) ** 2, "longest_edge": 64 * (PATCH * MERGE) ** 2},
    ).save_pretrained(folder)
    return folder


def settings(
    tokenizer: Any, width: int, layers: int, *, tower: dict[str, Any], rope: dict[str, Any]
) -> dict[str, Any]:
    """What a config of either family is made of; `tower` and `rope`: what only this one has."""
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    return {
        "vision_config": {
            "depth": 3,
            "hidden_size": TOWER_WIDTH,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "out_hidden_size": width,
            **tower,
        },
        "text_config": {
            **text_sizes(tokenizer, width=width, layers=layers),
            "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, **rope},
        },
        **{
            f"{name.removesuffix('_pad')}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>")
            for name in names
        },
    }


def library_inputs(
    kind: type[ProcessorMixin], folder: Path, image: NDArray[np.uint8], question: str
) -> dict[str, Any]:
    """What the family's own processor makes of the image and the prompt."""
    # The whole processor wants torchvision for its videos; without them nothing else changes.
    attributes = classmethod(lambda cls: ["image_processor", "tokenizer"])
    processor: Any = type(kind.__name__, (kind,), {"get_attributes": attributes})(
        AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil"),
        AutoTokenizer.from_pretrained(folder, local_files_only=True),
    )
    text = PROMPT.replace("<image>", "<|image_pad|>").replace("{question}", question)
    return dict(processor(images=[Image.fromarray(image)], text=[text], return_tensors="pt"))
