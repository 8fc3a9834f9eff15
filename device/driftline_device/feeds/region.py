"""The part of a picture that a feed looks at."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator


def _inside(region: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x, y, width, height = region
    if not (0 <= x < 1 and 0 <= y < 1 and width > 0 and height > 0):
        raise ValueError("is [x, y, width, height] in shares of the picture, 0 to 1, from top left")
    if x + width > 1 + 1e-9 or y + height > 1 + 1e-9:
        raise ValueError("reaches past the picture: x + width and y + height are 1 at most")
    return region


Region = Annotated[tuple[float, float, float, float], AfterValidator(_inside)]
"""x, y, width, height in shares of the picture: it holds whatever a camera's resolution is."""


def cut(image: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """That part of (H, W, 3) or (F, H, W, 3) `image`, widened to whole pixels; one pixel at least.
    A copy: the picture can go.
    """
    x, y, width, height = region
    top, bottom = _span(y, height, image.shape[-3])
    left, right = _span(x, width, image.shape[-2])
    return image[..., top:bottom, left:right, :].copy()


def _span(begin: float, length: float, size: int) -> tuple[int, int]:
    # A share that means a whole pixel must not miss it by a rounding.
    first = min(math.floor(begin * size + 1e-6), size - 1)
    return first, max(first + 1, min(size, math.ceil((begin + length) * size - 1e-6)))
