"""Texture: a busy ground and small distractors behind the figure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_lab.drift.base import Picture
from driftline_lab.drift.figure import find_figure, to_picture

NUM_DISTRACTORS = (5, 10)
"""Fewest and most strokes; each is thinner than any figure, so the figure stays clear."""


def texture(picture: Picture, rng: np.random.Generator) -> Picture:
    """A synthetic busy scene: waves of two colours, strokes over them, the figure on top."""
    height, width = picture.shape[:2]
    figure = find_figure(picture)
    ground = _waves(height, width, rng)
    _scatter(ground, rng)
    cover = figure.cover[..., None]
    grain = rng.normal(0.0, 3.0, picture.shape)
    return to_picture(ground * (1 - cover) + figure.ink * cover + grain)


def _waves(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W, 3) float32: two crossing waves that mix two related mid-bright colours."""
    rows, cols = np.mgrid[0:height, 0:width].astype(np.float32)
    first = rng.uniform(110, 230, 3).astype(np.float32)
    second = first + rng.uniform(-65, 65, 3).astype(np.float32)
    share = np.zeros((height, width), dtype=np.float32)
    for _ in range(2):
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 14)
        phase = (rows * np.sin(angle) + cols * np.cos(angle)) * 2 * np.pi / period
        share += np.sign(np.sin(phase + rng.uniform(0, 2 * np.pi))).astype(np.float32)
    mix = ((share + 2) / 4)[..., None]
    return (first * mix + second * (1 - mix)).astype(np.float32)


def _scatter(ground: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Draws thin strokes of any colour into `ground`."""
    height, width = ground.shape[:2]
    for _ in range(rng.integers(*NUM_DISTRACTORS, endpoint=True)):
        row, col = rng.integers(height), rng.integers(width)
        length = int(rng.integers(4, 11))
        colour = rng.uniform(0, 255, 3)
        step_row, step_col = ((0, 1), (1, 0), (1, 1), (1, -1))[rng.integers(4)]
        steps = np.arange(length)
        rows = np.clip(row + step_row * steps, 0, height - 1)
        cols = np.clip(col + step_col * steps, 0, width - 1)
        ground[rows, cols] = colour
