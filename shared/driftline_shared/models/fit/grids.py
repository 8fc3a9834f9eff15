"""The token grid of a checkpoint, as its family lays it out; no weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from driftline_shared.models.families.table import family_of
from driftline_shared.models.whole import skeleton
from driftline_shared.pair.pair import Canvas
from driftline_shared.tokens import Grid


def token_grid(model_dir: Path, canvas: Canvas | None) -> Grid:
    """Where tokens of an image on `canvas` sit (None: the family's own size).

    Raises PairError for a canvas that the family cannot read.
    """
    family = family_of(model_dir)
    model: Any = family.__new__(family)
    # A family settles its canvas from modules and image processor: no weights are needed.
    model.net, model.device = skeleton(model_dir), torch.device("cpu")
    model._prepare(model_dir, canvas)
    grid: Grid = model.grid
    return grid
