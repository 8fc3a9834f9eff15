"""Which part of its visual tokens a clip is read from, drawn at random in several ways.

A model that has always read every token keeps what it knows at a few fixed places, and every method
that drops tokens breaks it. One that has read even samples only still counts on each frame's share
of background. Published methods spread a budget unevenly over frames and choose by what a token
shows; so do these parts, by random weights instead of a method's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draw_part(
    seen: NDArray[np.floating], num_kept: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(num_kept,) rising flat indices into `seen` (frames, cells, channels).

    The highest of u = g + a f + b l, where g is Gumbel noise (alone: an even draw without
    replacement), f a normal number a frame, l how far a cell lies from the clip's mean along a
    random direction, as it is, turned round or without its sign, standardized; a and b are 0 half
    of the time, else exponential with mean 3.
    """
    num_frames, num_cells, _ = seen.shape
    use = rng.gumbel(size=(num_frames, num_cells))
    of_frames, of_looks = rng.exponential(3.0, 2) * rng.integers(0, 2, 2)
    use += of_frames * rng.normal(size=(num_frames, 1))
    flat = seen.reshape(num_frames * num_cells, -1).astype(np.float64)
    looks = (flat - flat.mean(axis=0)) @ rng.normal(size=flat.shape[1])
    if rng.integers(0, 2):
        looks = np.abs(looks)
    looks *= rng.choice([-1.0, 1.0])
    looks = (looks - looks.mean()) / max(float(looks.std()), 1e-9)
    use += of_looks * looks.reshape(use.shape)
    return np.sort(np.argpartition(-use.ravel(), num_kept - 1)[:num_kept])
