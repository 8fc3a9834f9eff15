"""Changes of colour and light, each pixel by itself."""

from __future__ import annotations

import numpy as np

from driftline_lab.recipes.tiny.augmentation.base import Values, random_colour, smooth_field

NUM_KNOTS = 5
NARROWEST = 30.0
"""Grey levels that a tone curve leaves between black and white, at least."""

_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16.0 - 0.5


def tone_curve(picture: Values, rng: np.random.Generator) -> Values:
    """A random rising curve through five knots, a little different in each channel: gamma, flat
    light, crushed shadows and burnt highlights in one.
    """
    width = rng.uniform(NARROWEST, 255.0)
    floor = rng.uniform(0.0, 255.0 - width)
    knots = np.sort(rng.uniform(0.0, 1.0, NUM_KNOTS))
    knots = (knots - knots[0]) / max(float(knots[-1] - knots[0]), 1e-3)
    even = np.linspace(0.0, 1.0, NUM_KNOTS)
    changed = np.empty_like(picture)
    for channel in range(3):
        curve = 0.5 * (even + knots) + rng.uniform(-0.05, 0.05, NUM_KNOTS)
        curve = np.maximum.accumulate(np.clip(curve, 0.0, 1.0))
        levels = floor + rng.uniform(-10.0, 10.0) + width * curve
        changed[..., channel] = np.interp(picture[..., channel], 255.0 * even, levels)
    return changed


def colour_matrix(picture: Values, rng: np.random.Generator) -> Values:
    """Channels mixed at random, and paler or stronger colours."""
    grey = np.full((3, 3), 1.0 / 3.0)
    strength = rng.uniform(0.35, 2.5)
    matrix = strength * np.eye(3) + (1.0 - strength) * grey + rng.normal(0.0, 0.08, (3, 3))
    changed: Values = (picture @ matrix.T.astype(np.float32)) + rng.uniform(-20.0, 20.0)
    return changed


def uneven_light(picture: Values, rng: np.random.Generator) -> Values:
    """Light that varies smoothly over the picture, in a tint."""
    field = smooth_field(picture.shape[:2], int(rng.integers(2, 6)), 1, rng)
    tint = rng.uniform(0.75, 1.15, 3).astype(np.float32)
    changed: Values = picture * tint * (rng.uniform(0.45, 1.2) + rng.uniform(0.1, 0.45) * field)
    return changed


def washed(picture: Values, rng: np.random.Generator) -> Values:
    """A coat of one random colour over everything, thicker here than there."""
    field = smooth_field(picture.shape[:2], int(rng.integers(2, 5)), 1, rng)
    share = np.clip(rng.uniform(0.2, 0.75) + 0.15 * field, 0.0, 0.85)
    changed: Values = picture * (1.0 - share) + random_colour(rng) * share
    return changed


def posterized(picture: Values, rng: np.random.Generator) -> Values:
    """Few levels a channel, with the dots of an ordered dither in half of the pictures."""
    step = 255.0 / rng.integers(2, 7)
    height, width = picture.shape[:2]
    dots = np.tile(_BAYER, (-(-height // 4), -(-width // 4)))[:height, :width, None]
    dither = step * dots * (rng.random() < 0.5)
    changed: Values = (np.rint((picture + dither) / step) * step).astype(np.float32)
    return changed
