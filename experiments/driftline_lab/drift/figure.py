"""Separates the one figure of an easy-VQA picture from its flat ground, and blurs fields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from driftline_lab.drift.base import Picture


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """`cover`: (H, W) float32 in [0, 1], the share of a pixel that is figure. Colours: (3,)."""

    cover: NDArray[np.float32]
    ink: NDArray[np.float32]
    ground: NDArray[np.float32]


def find_figure(picture: Picture) -> Figure:
    """The figure on a flat ground: ground is the commonest border colour, ink the next commonest.

    Antialiased edges are kept: cover is the position of a pixel between ground and ink.
    """
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    ground = _commonest(border).astype(np.float32)
    pixels = picture.reshape(-1, 3)
    others = pixels[np.abs(pixels - ground).sum(axis=1) > 0]
    ink = _commonest(others).astype(np.float32) if len(others) else 255.0 - ground
    axis = ink - ground
    cover = ((picture - ground) @ axis) / max(float(axis @ axis), 1.0)
    return Figure(cover=np.clip(cover, 0.0, 1.0).astype(np.float32), ink=ink, ground=ground)


def _commonest(pixels: Picture) -> Picture:
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    return colours[counts.argmax()]


def blur(field: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """A (H, W) field in [0, 1] after a Gaussian blur of `radius` pixels (8-bit precision)."""
    image = Image.fromarray(np.uint8(np.clip(field, 0, 1) * 255))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32) / 255.0


def to_picture(values: NDArray[np.floating]) -> Picture:
    """(H, W, 3) values in 0..255, clipped and rounded to a picture."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
