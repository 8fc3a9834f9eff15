"""Other ways to draw the figure, from its cover and its ink; none is one of the six drifts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_lab.drift.base import Picture
from driftline_lab.drift.figure import Figure, blur, find_figure
from driftline_lab.recipes.tiny.augmentation.base import (
    Values,
    blend,
    random_colour,
    smooth_field,
)

Mask = NDArray[np.float32]
"""(H, W) in [0, 1]."""


def restyled(picture: Picture, rng: np.random.Generator) -> Values:
    """The figure in one of the styles, drawn by `rng`."""
    figure = find_figure(picture)
    style = STYLES[int(rng.integers(len(STYLES)))]
    return style(figure, rng)


def marker(figure: Figure, rng: np.random.Generator) -> Values:
    """A thick line in the figure's ink on plain paper of any light tint."""
    edge = _edge(figure.cover, rng.uniform(0.8, 2.2))
    paper = np.broadcast_to(random_colour(rng, 150, 255), (*figure.cover.shape, 3))
    return blend(paper, figure.ink, edge[..., None] * rng.uniform(0.7, 1.0))


def blueprint(figure: Figure, rng: np.random.Generator) -> Values:
    """A light line on a dark sheet with a grid; the inside is a thin wash of the ink."""
    sheet = random_colour(rng, 10, 90)
    rows, cols = np.mgrid[0 : figure.cover.shape[0], 0 : figure.cover.shape[1]]
    period, at = int(rng.integers(5, 12)), rng.integers(0, 12, 2)
    grid = ((rows + at[0]) % period == 0) | ((cols + at[1]) % period == 0)
    drawn = sheet + rng.uniform(15, 60) * grid[..., None]
    drawn = blend(drawn, figure.ink, figure.cover[..., None] * rng.uniform(0.35, 0.75))
    edge = _edge(figure.cover, rng.uniform(0.6, 1.2))[..., None]
    line = 0.5 * (figure.ink + rng.uniform(180, 255))
    return blend(drawn, line.astype(np.float32), edge * rng.uniform(0.6, 1.0))


def pastel(figure: Figure, rng: np.random.Generator) -> Values:
    """A soft rubbed fill that is paler than the ink, on rough paper."""
    rubbed = blur(figure.cover, rng.uniform(0.8, 2.2))
    tooth = 0.5 + 0.5 * smooth_field(figure.cover.shape, int(rng.integers(16, 33)), 1, rng)
    ink = figure.ink + rng.uniform(0.1, 0.45) * (255.0 - figure.ink)
    paper = random_colour(rng, 170, 250) + 10.0 * tooth
    return blend(paper, ink, rubbed[..., None] * np.clip(0.5 + 0.6 * tooth, 0.0, 1.0))


def chalk(figure: Figure, rng: np.random.Generator) -> Values:
    """A broken fill on a dark board that was wiped."""
    height, width = figure.cover.shape
    board = random_colour(rng, 15, 75) + 18.0 * smooth_field((height, width), 4, 1, rng)
    crumbs = rng.random((height, width)) < rng.uniform(0.45, 0.85)
    fill = np.maximum(figure.cover * crumbs, _edge(figure.cover, 0.8))
    ink = 0.8 * figure.ink + rng.uniform(20, 50)
    return blend(board, ink, fill[..., None] * rng.uniform(0.6, 0.95))


def stippled(figure: Figure, rng: np.random.Generator) -> Values:
    """Dots on a lattice, large inside the figure and small outside."""
    rows, cols = np.mgrid[0 : figure.cover.shape[0], 0 : figure.cover.shape[1]]
    period, angle = rng.uniform(3.0, 6.0), rng.uniform(0.0, np.pi)
    along = (rows * np.cos(angle) - cols * np.sin(angle)) % period - period / 2
    across = (rows * np.sin(angle) + cols * np.cos(angle)) % period - period / 2
    radius = period * (0.15 * rng.random() + 0.4 * blur(figure.cover, 0.7))
    dots = np.clip(radius - np.hypot(along, across) + 0.5, 0.0, 1.0)[..., None]
    paper = random_colour(rng, 160, 255)
    outside = random_colour(rng, 60, 200)
    ink = blend(outside, figure.ink, figure.cover[..., None])
    return blend(np.broadcast_to(paper, ink.shape), ink, dots)


def cut_paper(figure: Figure, rng: np.random.Generator) -> Values:
    """The figure cut out of paper, with the shadow it throws on a ground of another colour."""
    down, right = (int(v) for v in rng.integers(-4, 5, 2))
    shadow = np.roll(blur(figure.cover, rng.uniform(0.8, 2.0)), (down, right), axis=(0, 1))
    ground = random_colour(rng, 60, 255) + 12.0 * smooth_field(figure.cover.shape, 6, 3, rng)
    shaded = ground * (1.0 - rng.uniform(0.3, 0.7) * shadow[..., None])
    return blend(shaded, figure.ink, figure.cover[..., None])


def neon(figure: Figure, rng: np.random.Generator) -> Values:
    """A glowing tube along the figure's edge, in the dark."""
    dark = np.broadcast_to(random_colour(rng, 0, 45), (*figure.cover.shape, 3))
    edge = _edge(figure.cover, rng.uniform(0.8, 1.4))
    glow = np.maximum(edge, rng.uniform(0.5, 0.9) * blur(edge, rng.uniform(2.0, 4.0)))
    return blend(dark, np.maximum(figure.ink, 35.0), glow[..., None])


def patterned(figure: Figure, rng: np.random.Generator) -> Values:
    """The figure filled with stripes or checks of two shades of its ink, on a patterned ground."""
    shades = figure.ink * rng.uniform(0.55, 0.85), figure.ink + 0.25 * (255.0 - figure.ink)
    inside = blend(shades[0], shades[1], _checks(figure.cover.shape, rng)[..., None])
    first = random_colour(rng, 120, 255)
    second = first + rng.uniform(-45, 45, 3)
    outside = blend(first, second, _checks(figure.cover.shape, rng)[..., None])
    return blend(outside, inside, figure.cover[..., None])


STYLES = (marker, blueprint, pastel, chalk, stippled, cut_paper, neon, patterned)


def _edge(cover: Mask, radius: float) -> Mask:
    soft = blur(cover, radius)
    edge: Mask = np.clip(4.0 * soft * (1.0 - soft), 0.0, 1.0)
    return edge


def _checks(size: tuple[int, int], rng: np.random.Generator) -> Mask:
    rows, cols = np.mgrid[0 : size[0], 0 : size[1]]
    angle, period = rng.uniform(0.0, np.pi), rng.uniform(3.0, 9.0)
    along = np.sin(2.0 * np.pi * (rows * np.sin(angle) + cols * np.cos(angle)) / period)
    across = np.cos(2.0 * np.pi * (rows * np.cos(angle) - cols * np.sin(angle)) / period)
    wave = along * across if rng.random() < 0.5 else along
    return (wave > 0.0).astype(np.float32)
