"""Inverted: a film negative; the answers still name the colours of the positive."""

from __future__ import annotations

import numpy as np

from driftline_lab.drift.base import Picture
from driftline_lab.drift.figure import to_picture


def inverted(picture: Picture, rng: np.random.Generator) -> Picture:
    """A synthetic negative with film grain and an uneven exposure."""
    gain = rng.uniform(0.8, 1.0)
    lift = rng.uniform(0, 25)
    grain = rng.normal(0.0, 5.0, picture.shape)
    return to_picture((255.0 - picture) * gain + lift + grain)
