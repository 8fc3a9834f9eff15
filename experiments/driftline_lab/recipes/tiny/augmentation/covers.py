"""Things in front of the picture: polygons, strokes, bars."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from driftline_lab.recipes.tiny.augmentation.base import Values, blend, random_colour


def polygons(picture: Values, rng: np.random.Generator) -> Values:
    """One to four flat polygons of three to seven corners, more or less see-through."""
    changed = picture
    for _ in range(int(rng.integers(1, 5))):
        mask, pen = _sheet(picture)
        middle = rng.uniform(0.0, 1.0, 2) * picture.shape[1::-1]
        count = int(rng.integers(3, 8))
        angles = np.sort(rng.uniform(0.0, 2.0 * np.pi, count))
        radii = rng.uniform(3.0, 15.0, count)
        corners = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        pen.polygon([(float(x), float(y)) for x, y in corners], fill=255)
        changed = blend(changed, random_colour(rng), _share(mask) * rng.uniform(0.4, 1.0))
    return changed


def strokes(picture: Values, rng: np.random.Generator) -> Values:
    """Scribbles: bent lines of a few colours across the picture."""
    changed = picture
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        mask, pen = _sheet(picture)
        for _ in range(int(rng.integers(1, 6))):
            points = rng.uniform(-0.1, 1.1, (int(rng.integers(2, 6)), 2)) * (width, height)
            line = [(float(x), float(y)) for x, y in points]
            pen.line(line, fill=255, width=int(rng.integers(1, 4)))
        changed = blend(changed, random_colour(rng), _share(mask) * rng.uniform(0.4, 1.0))
    return changed


def bars(picture: Values, rng: np.random.Generator) -> Values:
    """Behind a fence: parallel bars of one colour, and a second row across in some pictures."""
    rows, cols = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    angle, period = rng.uniform(0.0, np.pi), rng.uniform(6.0, 20.0)
    share = np.zeros(picture.shape[:2], dtype=np.float32)
    for turn in (0.0, 0.5 * np.pi)[: int(rng.integers(1, 3))]:
        across = rows * np.sin(angle + turn) + cols * np.cos(angle + turn)
        share[(across + rng.uniform(0, period)) % period < period * rng.uniform(0.1, 0.4)] = 1.0
    return blend(picture, random_colour(rng), share[..., None] * rng.uniform(0.4, 1.0))


def _sheet(picture: Values) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    mask = Image.new("L", (picture.shape[1], picture.shape[0]))
    return mask, ImageDraw.Draw(mask)


def _share(mask: Image.Image) -> Values:
    return np.asarray(mask, dtype=np.float32)[..., None] / 255.0
