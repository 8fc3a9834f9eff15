"""Noise that has a structure: of a random spectrum, in rows, in the paper."""

from __future__ import annotations

import numpy as np

from driftline_lab.recipes.tiny.augmentation.base import Values

SLOPES = (0.35, 2.2)
"""Exponent of the amplitude's fall with frequency; 0 would be white."""


def spectral_noise(picture: Values, rng: np.random.Generator) -> Values:
    """Added noise whose amplitude falls as frequency to a random power, more along one axis than
    the other, of channels that go together more or less; in half of the pictures it scales with
    how far a pixel is from middle grey.
    """
    height, width = picture.shape[:2]
    stretch = rng.uniform(0.4, 2.5)
    rows = np.fft.fftfreq(height)[:, None] * stretch
    cols = np.fft.rfftfreq(width)[None, :] / stretch
    frequency = np.maximum(np.hypot(rows, cols), 1.0 / max(height, width))
    falls = frequency ** -rng.uniform(*SLOPES)
    white = rng.normal(0.0, 1.0, (height, width, 4))
    coloured = np.fft.irfft2(
        np.fft.rfft2(white, axes=(0, 1)) * falls[..., None], s=(height, width), axes=(0, 1)
    )
    coloured /= coloured.std() + 1e-6
    together = rng.uniform(0.0, 1.0)
    noise = together * coloured[..., 3:] + (1.0 - together) * coloured[..., :3]
    strength = rng.uniform(8.0, 90.0)
    if rng.random() < 0.5:
        noise = noise * (0.4 + np.abs(picture - 127.5) / 127.5)
    changed: Values = (picture + strength * noise).astype(np.float32)
    return changed


def scan_lines(picture: Values, rng: np.random.Generator) -> Values:
    """A bad tape: rows that are lighter or darker, some pushed aside; or columns."""
    turned = rng.random() < 0.5
    lines = picture.transpose(1, 0, 2) if turned else picture
    count = len(lines)
    light = rng.normal(0.0, rng.uniform(5.0, 45.0), (count, 1, 3 if rng.random() < 0.5 else 1))
    pushed = np.rint(rng.normal(0.0, rng.uniform(0.0, 2.5), count)).astype(int)
    changed = np.stack([np.roll(line, by, axis=0) for line, by in zip(lines, pushed, strict=True)])
    changed = (changed + light).astype(np.float32)
    return changed.transpose(1, 0, 2) if turned else changed


def dropped_pixels(picture: Values, rng: np.random.Generator) -> Values:
    """Small patches that take the colour of a place some pixels away: a torn weave."""
    height, width = picture.shape[:2]
    changed = picture.copy()
    for _ in range(int(rng.integers(15, 120))):
        rows, cols = (int(v) for v in rng.integers(1, 6, 2))
        top, left = int(rng.integers(height - rows)), int(rng.integers(width - cols))
        far_top, far_left = (
            int(np.clip(at + rng.integers(-9, 10), 0, side - size))
            for at, side, size in ((top, height, rows), (left, width, cols))
        )
        patch = picture[far_top : far_top + rows, far_left : far_left + cols]
        changed[top : top + rows, left : left + cols] = patch
    return changed
