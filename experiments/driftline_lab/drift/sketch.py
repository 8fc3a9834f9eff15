"""Sketch: coloured outline and hatching on ruled paper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_lab.drift.base import Picture
from driftline_lab.drift.figure import blur, find_figure, to_picture

HATCH_PERIOD = (4.0, 5.5)
"""Pixels between two hatching strokes."""

PRESSURE = (0.50, 0.75)
"""Share of the paper that a stroke covers: pencils are paler than paint."""


def sketch(picture: Picture, rng: np.random.Generator) -> Picture:
    """A synthetic drawing: the figure's own colour as outline and hatching."""
    height, width = picture.shape[:2]
    figure = find_figure(picture)
    outline = np.clip(4.0 * blur(figure.cover, 1.0) * (1 - blur(figure.cover, 1.0)), 0, 1)
    hatching = figure.cover * _strokes(height, width, rng.uniform(*HATCH_PERIOD), rng)
    ink = np.clip(np.maximum(outline, hatching), 0, 1)[..., None] * rng.uniform(*PRESSURE)
    paper = rng.uniform(205, 240) + rng.uniform(-15, 15, 3)
    ruling = _strokes(height, width, rng.uniform(7, 11), rng)[..., None]
    ground = paper - ruling * rng.uniform(15, 40, 3)
    grain = rng.normal(0.0, 3.0, picture.shape)
    return to_picture(ground * (1 - ink) + figure.ink * ink + grain)


def _strokes(
    height: int, width: int, period: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1]: parallel strokes, one every `period` pixels, at a random angle."""
    rows, cols = np.mgrid[0:height, 0:width]
    angle = rng.uniform(0, np.pi)
    across = (rows * np.sin(angle) + cols * np.cos(angle) + rng.uniform(0, period)) % period
    return np.clip(1.4 - np.minimum(across, period - across), 0, 1).astype(np.float32)
