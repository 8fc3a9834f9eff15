"""The token grid of a checkpoint, as its family lays it out; no weights are read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from driftline_shared.models.families import family_of
from driftline_shared.models.pair import Canvas
from driftline_shared.models.towers import register_towers
from driftline_shared.tokens import Grid


def token_grid(model_dir: Path, canvas: Canvas | None) -> Grid:
    """Where tokens of an image on `canvas` sit (None: the family's own size).

    Raises PairError for a canvas that the family cannot read.
    """
    from transformers import AutoConfig

    register_towers()
    config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
    family = family_of(model_dir)
    # A family settles its canvas from config and image processor alone: no weights are needed.
    model: Any = family.__new__(family)
    model.net, model.device = SimpleNamespace(config=config), torch.device("cpu")
    model._prepare(model_dir, canvas)
    grid: Grid = model.grid
    return grid
