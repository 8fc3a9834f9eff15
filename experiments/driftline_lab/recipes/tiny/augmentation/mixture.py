"""An augmented picture: a style or the picture itself, then chains of changes, mixed.

After Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
Uncertainty" (ICLR 2020): chains of one to three changes, mixed by weights of a Dirichlet
distribution. There the result is mixed with the picture once more; here, where answers matter more
than likeness, in half of the pictures one chain alone is taken, at its full strength.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np

from driftline_lab.drift.base import Picture
from driftline_lab.drift.figure import to_picture
from driftline_lab.recipes.tiny.augmentation import colours, covers, filters, grain
from driftline_lab.recipes.tiny.augmentation.base import Change, Values
from driftline_lab.recipes.tiny.augmentation.styles import restyled

CHANGES: tuple[Change, ...] = (
    colours.tone_curve,
    colours.tone_curve,
    colours.colour_matrix,
    colours.uneven_light,
    colours.washed,
    colours.posterized,
    filters.wandering_blur,
    filters.wandering_blur,
    filters.random_convolution,
    filters.resampled,
    filters.resampled,
    filters.cells,
    filters.waves,
    grain.spectral_noise,
    grain.spectral_noise,
    grain.spectral_noise,
    grain.scan_lines,
    grain.dropped_pixels,
    covers.polygons,
    covers.strokes,
    covers.bars,
)
"""What a chain is drawn from; what stands twice is drawn twice as often."""

STYLED_SHARE = 0.3
MIXED_SHARE = 0.4
LENGTHS = (1, 1, 2, 2, 3)


def augmented(picture: Picture, *, seed: int, image_id: int) -> Picture:
    """(H, W, 3) uint8, the same for the same (seed, image_id)."""
    rng = np.random.default_rng([seed, crc32(b"augmented"), image_id])
    plain = picture[:, ::-1] if rng.random() < 0.5 else picture
    styled = rng.random() < STYLED_SHARE
    start = restyled(plain, rng) if styled else plain.astype(np.float32)
    if styled and rng.random() < 0.3:
        return to_picture(start)
    if rng.random() >= MIXED_SHARE:
        return to_picture(_chain(start, rng))
    count = int(rng.integers(2, 4))
    shares = rng.dirichlet(np.ones(count))
    mixed = sum(share * _chain(start, rng) for share in shares)
    rest = rng.beta(1.0, 2.0)
    return to_picture(rest * start + (1.0 - rest) * mixed)


def _chain(start: Values, rng: np.random.Generator) -> Values:
    values = start
    for _ in range(LENGTHS[int(rng.integers(len(LENGTHS)))]):
        change = CHANGES[int(rng.integers(len(CHANGES)))]
        values = np.clip(change(values, rng), 0.0, 255.0).astype(np.float32)
    return values
