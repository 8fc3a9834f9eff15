"""Fog: haze that thickens towards one side, and blur."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from driftline_lab.drift.base import Picture
from driftline_lab.drift.figure import to_picture

THICKNESS = (0.58, 0.76)
"""Least and most share of the picture that is haze."""

BLUR = (0.8, 1.4)
"""Blur radius in pixels."""


def fog(picture: Picture, rng: np.random.Generator) -> Picture:
    """A synthetic fog: blur, then a blend with a pale haze that has a gradient."""
    height, width = picture.shape[:2]
    radius = rng.uniform(*BLUR)
    blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))
    haze = rng.uniform(165, 215) + rng.uniform(-8, 8, 3)
    angle = rng.uniform(0, 2 * np.pi)
    rows, cols = np.mgrid[0:height, 0:width]
    slope = (rows / height - 0.5) * np.sin(angle) + (cols / width - 0.5) * np.cos(angle)
    thickness = np.clip(rng.uniform(*THICKNESS) + 0.2 * slope, 0.0, 0.8)[..., None]
    grain = rng.normal(0.0, 2.0, picture.shape)
    return to_picture(blurred * (1 - thickness) + haze * thickness + grain)
