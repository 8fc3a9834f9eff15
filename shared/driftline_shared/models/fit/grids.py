"""The token grid of a checkpoint, as its family lays it out; no weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from driftline_shared.assembly.towers import register_towers
from driftline_shared.models.families.table import family_of
from driftline_shared.pair.pair import Canvas
from driftline_shared.tokens import Grid


def token_grid(model_dir: Path, canvas: Canvas | None) -> Grid:
    """Where tokens of an image on `canvas` sit (None: the family's own size).

    Raises PairError for a canvas that the family cannot read.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    register_towers()
    config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
    family = family_of(model_dir)
    # A family settles its canvas from modules and image processor: no weights are needed.
    with torch.device("meta"):
        net = AutoModelForImageTextToText.from_config(config)
    model: Any = family.__new__(family)
    model.net, model.device = net, torch.device("cpu")
    model._prepare(model_dir, canvas)
    grid: Grid = model.grid
    return grid
