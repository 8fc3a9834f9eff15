"""What a change is, and fields that several of them use."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Values = NDArray[np.floating]
"""(H, W, 3) in 0..255, RGB."""

Change = Callable[[Values, np.random.Generator], Values]


def smooth_field(
    size: tuple[int, int], cells: int, channels: int, rng: np.random.Generator
) -> Values:
    """(H, W, C) in [-1, 1]: random values on a grid of `cells` a side, drawn out smoothly."""
    height, width = size
    grid = rng.uniform(-1.0, 1.0, (channels, cells, cells)).astype(np.float32)
    layers = [
        np.asarray(Image.fromarray(layer).resize((width, height), Image.Resampling.BICUBIC))
        for layer in grid
    ]
    return np.stack(layers, axis=-1)


def random_colour(rng: np.random.Generator, low: float = 0.0, high: float = 255.0) -> Values:
    """(3,) float32."""
    return rng.uniform(low, high, 3).astype(np.float32)


def blend(below: Values, above: Values, share: Values | float) -> Values:
    """`above` over `below`; `share`: a number, or (H, W, 1), in [0, 1]."""
    mixed: Values = (below * (1.0 - share) + above * share).astype(np.float32)
    return mixed
