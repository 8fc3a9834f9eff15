"""Tiny random checkpoints of every family, saved and loaded as any other; never shipped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_shared.models.families.base import FamilyModel
from driftline_shared.pair.pair import Canvas
from tests.fakes.families import (
    idefics3,
    llava,
    llava_onevision,
    llava_onevision_video,
    qwen2_5_vl,
    qwen3_vl,
    smolvlm,
)

FAMILIES: dict[str, ModuleType] = {
    "llava": llava,
    "llava_onevision": llava_onevision,
    "llava_onevision_video": llava_onevision_video,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
}
"""Name -> a module with MODEL_TYPE, PROMPT, CANVAS, make_checkpoint() and library_inputs()."""


def noise(*sides: int, seed: int = 0) -> NDArray[np.uint8]:
    """A random picture of (height, width), or clip of (frames, height, width)."""
    return np.random.default_rng(seed).integers(0, 256, (*sides, 3), dtype=np.uint8)


def canvas_noise(canvas: Canvas | None, seed: int = 0) -> NDArray[np.uint8]:
    """A random picture or clip of the canvas's size, so that no processor has to resize it."""
    height, width, frames = (canvas.height, canvas.width, canvas.frames) if canvas else (32, 32, 1)
    return noise(*([frames] if frames > 1 else []), height, width, seed=seed)


@torch.no_grad()
def whole_logits(model: FamilyModel, image: NDArray[np.uint8], question: str) -> torch.Tensor:
    """What the model says with all of the image's tokens kept."""
    kept = torch.arange(model.num_tokens)[None]
    projected = model.project(model.encode([image]))
    return model.forward(model.batch(projected, kept, [question])).logits


def edited(checkpoint: Path, copy: Path, file: str, **changes: Any) -> Path:
    """A copy of a checkpoint with other settings in one of its JSON files."""
    shutil.copytree(checkpoint, copy)
    held = json.loads((copy / file).read_text()) if (copy / file).is_file() else {}
    (copy / file).write_text(json.dumps(held | changes))
    return copy
