"""The one step from the bytes of a picture to pixels, for files and requests alike.

What comes out is what a viewer shows: turned as its EXIF says, on white where it is transparent,
the first of several frames. Nothing in a picture raises anything but DataError.

Memory: the size is read from the header and bounded before a pixel is decoded, by a number of
pixels and by what decoding them takes of this machine's memory. A picture of `KEPT_PIXELS` or more
is made smaller by a whole number as it is decoded; smaller ones keep all pixels. A JPEG is reduced
by its own coefficients, anything else strip by strip, by means over squares of pixels. In a
process, one large picture is decoded at a time.
Profiles of colour (ICC) are not applied.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import DataError
from driftline_shared.host.memory import give_back_free, total_bytes
from driftline_shared.pictures.files import read_bytes, shown
from driftline_shared.pictures.formats import readable, what_it_is
from driftline_shared.pictures.modes import rgb_of
from driftline_shared.pictures.silence import silence_pillow
from driftline_shared.pictures.structure import check_structure

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")

Pixels = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""

MAX_PIXELS = 50_000_000
"""Most pixels of one image: a few kilobytes of PNG can name billions."""

KEPT_PIXELS = 1 << 22
"""A picture of fewer pixels (2048 x 2048) is kept as it is."""

LEAST_PIXELS = 1 << 20
"""A picture that is made smaller keeps at least so many, less than 2.25 times as many: the canvas
of a tower has fewer."""

_FREE_PIXELS = 1 << 20  # a larger picture is decoded while no other such one is
_STRIP_PIXELS = 1 << 20
_ORIENTATION = 0x0112

_SHARE_OF_MEMORY = 1 / 3
# Measured at 49 million pixels, rounded up. WebP holds several canvases; a JPEG, if it is not
# progressive, is read in rows and already smaller.
_BYTES_A_PIXEL = {"WEBP": 16, "AVIF": 10, "HEIF": 10, "TIFF": 8, "JPEG": 2, "MPO": 2}
_BYTES_A_PIXEL |= {"JPEG progressive": 7, "MPO progressive": 7}
_BYTES_OF_OTHERS = 5

_one_large = threading.Lock()
_memory_bytes = cache(total_bytes)


def read_image(path: Path, *, place: str, max_pixels: int = MAX_PIXELS) -> Pixels:
    """(H, W, 3) uint8 RGB; DataError naming `place` if it is missing, broken or too large."""
    data = read_bytes(path, place=place)
    return decode_image(data, name=f"image {shown(path.name)}", place=place, max_pixels=max_pixels)


def decode_image(
    data: bytes,
    *,
    name: str,
    place: str,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> Pixels:
    """(H, W, 3) uint8 RGB of an encoded image; DataError naming `place` and `name` if it is broken,
    of a format that is not read, or has more than `max_pixels`. `formats`: only these of them.
    """
    known = tuple(each for each in readable() if formats is None or each in formats)
    silence_pillow()
    found = _use(data, known, partial(_unless_large, max_pixels=max_pixels))
    if isinstance(found, _Large):
        with _one_large:
            found = _use(data, known, _pixels)
            give_back_free()  # what it took would else stay with this thread, for each thread anew
    if isinstance(found, str):
        raise DataError(f"{place}: {name} {found}")
    return found


@dataclass(frozen=True, slots=True)
class _Large:
    """A picture that waits for its turn; nothing of it is decoded yet."""


def _use(data: bytes, formats: tuple[str, ...], use: Callable[[Image], T]) -> T | str:
    """What `use` makes of the picture, or why it is broken; nothing of the picture is held on to,
    as an exception would.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        check_structure(data)
        with Image.open(io.BytesIO(data), formats=formats) as image:
            return use(image)
    except DataError as error:
        return str(error)
    except UnidentifiedImageError:
        cause = f"{what_it_is(data[:512])}; read are {', '.join(formats)}"
    except Image.DecompressionBombError:
        cause = "it has too many pixels"
    except Exception as error:  # decoders raise what they like: it is one broken picture
        cause = str(error) or type(error).__name__
    return f"cannot be read ({cause})"


def _unless_large(image: Image, *, max_pixels: int) -> Pixels | _Large:
    if image.width * image.height > max_pixels:
        raise DataError(f"has {image.width} x {image.height} pixels, at most {max_pixels}")
    if image.width * image.height > _FREE_PIXELS:
        _check_memory(image)
        return _Large()
    return _pixels(image)


def _check_memory(image: Image) -> None:
    """DataError if to decode it takes too large a part of what programs can have here."""
    progressive = "progressive" in image.info
    form = f"{image.format} progressive" if progressive else image.format or ""
    needed = image.width * image.height * _BYTES_A_PIXEL.get(form, _BYTES_OF_OTHERS)
    total = _memory_bytes()
    if total is not None and needed > _SHARE_OF_MEMORY * total:
        raise DataError(
            f"has {image.width} x {image.height} pixels, which take {needed >> 20} MB to decode, "
            f"too much for this machine's {total >> 20} MB of memory: save it smaller, or as JPEG"
        )


def _pixels(image: Image) -> Pixels:
    factor = _factor(image)
    if factor > 1:
        image.draft(None, (-(-image.width // factor), -(-image.height // factor)))
    image.load()
    upright = _turned(_reduced(image, _factor(image)), _orientation(image))
    return np.ascontiguousarray(upright)


def _factor(image: Image) -> int:
    """By how much both sides become smaller."""
    num_pixels = image.width * image.height
    return 1 if num_pixels < KEPT_PIXELS else math.isqrt(num_pixels // LEAST_PIXELS)


def _reduced(image: Image, factor: int) -> Pixels:
    """`image` in RGB, made smaller by `factor`."""
    factors = (min(factor, image.width), min(factor, image.height))
    to_rgb = rgb_of(image, lambda: _strips(image, factors[1]))
    if factor == 1:
        return np.asarray(to_rgb(image), dtype=np.uint8)
    strips = [
        np.asarray(to_rgb(strip).reduce(factors), dtype=np.uint8)
        for strip in _strips(image, factors[1])
    ]
    return np.concatenate(strips)


def _strips(image: Image, multiple: int) -> Iterator[Image]:
    """All of `image` from top to bottom in parts, each of a multiple of so many rows."""
    rows = multiple * max(1, _STRIP_PIXELS // (image.width * multiple))
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(image.height, top + rows)))


def _orientation(image: Image) -> int:
    """1 to 8, as EXIF numbers them; 1 where it says nothing that can be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # what is broken beside the pixels does not break them
        return 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """As EXIF's `orientation` says how a viewer shows them (Exif 2.32, 4.6.4, tag 274)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
