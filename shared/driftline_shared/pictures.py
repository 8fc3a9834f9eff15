"""Images from outside: bounded before they are decoded."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm", ".tif", ".tiff"})
"""Names of image files end so."""

MAX_FILE_BYTES = 64 << 20
"""Most bytes of one image file (64 MiB)."""

MAX_PIXELS = 50_000_000
"""Most pixels of one image: a few kilobytes of PNG can name billions."""


def read_image(path: Path, *, place: str, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB; DataError naming `place` if it is missing, broken or too large."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise DataError(f"{place}: image {path.name} does not exist") from None
    except OSError as error:
        raise DataError(f"{place}: image {path.name} cannot be read ({error})") from error
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"{place}: {path.name} is larger than {MAX_FILE_BYTES >> 20} MiB")
    return decode_image(data, name=f"image {path.name}", place=place, max_pixels=max_pixels)


def decode_image(
    data: bytes,
    *,
    name: str,
    place: str,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an encoded image; DataError naming `place` and `name` if it is broken.

    `formats`: only these are read, as Pillow names them. The size is read from the header and
    bounded before any pixel is decoded.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise DataError(
                    f"{place}: {name} has {width} x {height} pixels, at most {max_pixels}"
                )
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except UnidentifiedImageError:
        known = ", ".join(formats) if formats else "any known format"
        raise DataError(f"{place}: {name} cannot be read (not an image: {known})") from None
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{place}: {name} cannot be read ({error})") from error
