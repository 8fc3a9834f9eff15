"""Night: little light, a lamp's colour cast, uneven lighting and sensor noise."""

from __future__ import annotations

import numpy as np

from driftline_lab.drift.base import Picture
from driftline_lab.drift.figure import to_picture

LIGHT = (0.40, 0.60)
"""Least and most light left, as a share of daylight."""

CASTS = ((1.0, 0.82, 0.60), (0.70, 0.82, 1.0), (0.75, 1.0, 0.80))
"""Sodium lamp, moonlight, old fluorescent tube: gain per channel."""

NOISE = 6.0
"""Standard deviation of the sensor noise, in grey levels."""


def night(picture: Picture, rng: np.random.Generator) -> Picture:
    """A synthetic night: light x cast x a lamp's falloff, plus noise."""
    height, width = picture.shape[:2]
    cast = np.asarray(CASTS[rng.integers(len(CASTS))], dtype=np.float32)
    lamp = rng.uniform(0.0, 1.0, 2) * (height, width)
    rows, cols = np.mgrid[0:height, 0:width]
    distance = np.hypot(rows - lamp[0], cols - lamp[1]) / max(height, width)
    light = rng.uniform(*LIGHT) * (1.15 - 0.45 * np.clip(distance, 0, 1))
    noise = rng.normal(0.0, NOISE, picture.shape)
    return to_picture(picture * cast * light[..., None] + 6.0 + noise)
