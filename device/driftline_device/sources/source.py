"""The Source protocol: where questions come from, one observation after the other."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from driftline_shared.errors import DataError

MAX_FILE_BYTES = 64 << 20
"""Most bytes of one image file (64 MiB)."""

MAX_PIXELS = 50_000_000
"""Most pixels of one image: a few kilobytes of PNG can name billions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One question about one image: `image` is (H, W, 3) uint8 RGB.

    `truth` is the true answer if the source knows it: used for scoring only, it never leaves the
    process. `domain` names where the image comes from. `place`: "file:line", for people.
    """

    image: NDArray[np.uint8]
    question: str
    truth: str | None = None
    domain: str | None = None
    place: str


class Source(Protocol):
    """A named stream of observations; broken rows are logged and left out."""

    @property
    def name(self) -> str:
        """For people: the segment."""

    @property
    def num_broken(self) -> int:
        """Rows left out so far."""

    def __iter__(self) -> Iterator[Observation]:
        """From the start."""


def read_image(path: Path, *, place: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB; DataError naming `place` if it is missing, broken or too large.

    The size is read from the header and bounded before any pixel is decoded.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise DataError(f"{place}: {path.name} is larger than {MAX_FILE_BYTES >> 20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise DataError(
                        f"{place}: {path.name} has {width} x {height} pixels, at most {max_pixels}"
                    )
                return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except FileNotFoundError:
        raise DataError(f"{place}: image {path.name} does not exist") from None
    except (
        OSError,
        UnidentifiedImageError,
        ValueError,
        SyntaxError,
        EOFError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{place}: image {path.name} cannot be read ({error})") from error
