"""Changes of detail: blurs of random shape, random convolutions, resizing, cells, waves."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import convolve, map_coordinates

from driftline_lab.recipes.tiny.augmentation.base import Values, blend

_SMOOTH = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.HAMMING,
    Image.Resampling.LANCZOS,
)


def wandering_blur(picture: Values, rng: np.random.Generator) -> Values:
    """Blur by a shaking hand: the kernel is a random walk, of another length and width each time;
    neither a straight line nor a disk nor a bell.
    """
    reach = int(rng.integers(2, 10))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), dtype=np.float32)
    place, heading = np.zeros(2), rng.uniform(0.0, 2.0 * np.pi)
    for _ in range(int(rng.integers(6, 40))):
        row, col = (int(v) for v in np.clip(np.rint(place), -reach, reach) + reach)
        kernel[row, col] += rng.uniform(0.2, 1.0)
        heading += rng.normal(0.0, 0.9)
        step = np.array((np.sin(heading), np.cos(heading)))
        place = np.clip(place + step, -reach, reach)
    return _filtered(picture, kernel / kernel.sum())


def random_convolution(picture: Values, rng: np.random.Generator) -> Values:
    """A convolution with random weights, mixed with the picture. Xu et al., "Robust and
    Generalizable Visual Representation Learning via Random Convolutions" (ICLR 2021).
    """
    side = int(rng.choice([3, 5, 7]))
    kernel = rng.normal(0.0, 1.0, (side, side)).astype(np.float32)
    kernel /= np.abs(kernel).sum()
    texture = 2.0 * _filtered(picture - 127.5, kernel) + 127.5
    return blend(picture, texture, rng.uniform(0.2, 0.6))


def resampled(picture: Values, rng: np.random.Generator) -> Values:
    """Made small, not by the same share both ways, and large again, by two smooth filters."""
    height, width = picture.shape[:2]
    share = rng.uniform(0.1, 0.6)
    small = [max(5, round(side * share * rng.uniform(0.8, 1.25))) for side in (width, height)]
    first, second = (_SMOOTH[i] for i in rng.integers(len(_SMOOTH), size=2))
    image = Image.fromarray(np.clip(picture, 0.0, 255.0).astype(np.uint8))
    image = image.resize((small[0], small[1]), first).resize((width, height), second)
    return np.asarray(image, dtype=np.float32)


def cells(picture: Values, rng: np.random.Generator) -> Values:
    """Stained glass: every pixel has the mean colour of the nearest of some random points."""
    height, width = picture.shape[:2]
    count = int(rng.integers(80, 400))
    points = rng.uniform(0.0, 1.0, (count, 2)) * (height, width)
    rows, cols = np.mgrid[0:height, 0:width]
    far = (rows[..., None] - points[:, 0]) ** 2 + (cols[..., None] - points[:, 1]) ** 2
    owner = far.argmin(axis=-1).ravel()
    sizes = np.maximum(np.bincount(owner, minlength=count), 1)
    flat = picture.reshape(-1, 3)
    means = [np.bincount(owner, weights=flat[:, c], minlength=count) / sizes for c in range(3)]
    glass = np.stack(means, axis=-1)[owner].reshape(picture.shape).astype(np.float32)
    return blend(picture, glass, rng.uniform(0.6, 1.0))


def waves(picture: Values, rng: np.random.Generator) -> Values:
    """Seen through rippled glass: rows and columns pushed along two sine waves."""
    height, width = picture.shape[:2]
    rows, cols = np.mgrid[0:height, 0:width].astype(np.float32)
    places = []
    for own, other in ((rows, cols), (cols, rows)):
        period, phase = rng.uniform(8.0, 40.0), rng.uniform(0.0, 2.0 * np.pi)
        places.append(own + rng.uniform(0.0, 1.8) * np.sin(2.0 * np.pi * other / period + phase))
    layers = [map_coordinates(picture[..., c], places, order=1, mode="nearest") for c in range(3)]
    return np.stack(layers, axis=-1)


def _filtered(picture: Values, kernel: Values) -> Values:
    layers = [convolve(picture[..., c], kernel, mode="nearest") for c in range(3)]
    return np.stack(layers, axis=-1)
