"""The tiny random LLaVA-OneVision again, reading clips of three frames: 5 x 5 patches, 3 x 3 cells.

The library's video processor needs torchvision, so its forward takes frames that its image
processor prepared: the base view, which is what its video processor makes of frames of this size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from driftline_shared.pair.pair import Canvas
from tests.fakes.families.llava_onevision import MODEL_TYPE as MODEL_TYPE
from tests.fakes.families.llava_onevision import PROMPT as PROMPT
from tests.fakes.families.llava_onevision import SIZE, library_processor
from tests.fakes.families.llava_onevision import make_checkpoint as make_checkpoint

CANVAS: Canvas | None = Canvas(height=SIZE, width=SIZE, frames=3)


def library_inputs(folder: Path, clip: NDArray[np.uint8], question: str) -> dict[str, Any]:
    """What transformers' own forward takes for the same clip and question."""
    processor = library_processor(folder)
    frames = [Image.fromarray(frame) for frame in clip]
    views = processor.image_processor(images=frames, return_tensors="pt")["pixel_values"]
    pixels = views[None, :, 0]  # (1, F, 3, H, W)
    written = processor.replace_video_token({"pixel_values_videos": pixels}, 0)
    text = PROMPT.replace("<image>", written).replace("{question}", question)
    ids = torch.tensor([processor.tokenizer(text, add_special_tokens=False)["input_ids"]])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": pixels,
    }
