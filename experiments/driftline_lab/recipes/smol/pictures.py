"""Tokens of OpenMoji views through the frozen tower, computed once and kept as fp16 files.

One file per (style, use): `tokens` (C, N, V, D), concept by concept in the data set's order and
view by view, and `codes` (C,), the concepts' code points. A longer file serves for fewer views;
training reads these and never runs the tower.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from driftline_lab.data.openmoji.concepts import concepts
from driftline_lab.data.openmoji.views import Style, Use, render, view_of
from driftline_lab.drift.base import Picture
from driftline_shared.assembly.checkpoint import IMAGE_MEAN, IMAGE_STD
from driftline_shared.assembly.packages import read_vision_tower
from driftline_shared.assembly.towers.efficientnet_lite import (
    EfficientNetLiteConfig,
    EfficientNetLiteModel,
)
from driftline_shared.callbacks import Progress

NUM_VISUAL = 49
_BATCH = 16


def load_tower() -> EfficientNetLiteModel:
    """The tower as every assembled checkpoint holds it."""
    tower = EfficientNetLiteModel(EfficientNetLiteConfig())
    tower.load_state_dict({k: torch.from_numpy(v) for k, v in read_vision_tower().items()})
    return tower.eval().requires_grad_(False)


def encode_pictures(
    tower: EfficientNetLiteModel, pictures: Iterable[Picture]
) -> NDArray[np.float16]:
    """(N, V, D) fp16 tokens of (224, 224, 3) uint8 pictures, prepared as the checkpoint says."""
    done, left = [], iter(pictures)
    while batch := list(islice(left, _BATCH)):
        pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            tokens = tower((pixels - IMAGE_MEAN) / IMAGE_STD).last_hidden_state
        done.append(tokens.half().numpy())
    return np.concatenate(done)


def cached_tokens(
    folder: Path,
    tower: EfficientNetLiteModel,
    style: Style,
    use: Use,
    num_views: int,
    progress: Progress,
) -> NDArray[np.float16]:
    """(C, num_views, V, D) fp16: every concept in `style`, from the folder or computed."""
    path = folder / f"{style}-{use}.safetensors"
    codes = np.array([int(concept.code, 16) for concept in concepts()], dtype=np.int64)
    if path.exists():
        stored = load_file(path)
        if np.array_equal(stored["codes"], codes) and stored["tokens"].shape[1] >= num_views:
            progress(1.0)
            return stored["tokens"][:, :num_views]
    rows = []
    for done, concept in enumerate(concepts(), start=1):
        views = (render(concept, style, view=view_of(use, n)) for n in range(num_views))
        rows.append(encode_pictures(tower, views))
        progress(done / len(concepts()))
    tokens = np.stack(rows)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file({"codes": codes, "tokens": tokens}, part)
    part.rename(path)
    return tokens
