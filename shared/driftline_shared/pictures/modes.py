"""What the values of a picture mean: any of Pillow's modes to RGB, as a viewer would show it.

* Transparent pixels are laid on white; what colour is hidden under them does not count.
* 16 bits a value: 0 is black and 65,535 white, the range of the format. A PNG, or a PGM.
* 32 bits a value, whole numbers: the same where none is outside 0..65,535 (what PGM and 16-bit
  files are widened to), else as floats: nobody uses the range of 2^32.
* Floats have no range of their own: 0..1, where they lie in it, is what programs mean by floats;
  whole numbers in 0..255 are 8-bit values that were only stored so; any other (depth, degrees) is
  scaled from its lowest to its highest finite value. NaN is black, infinities are the ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

WHITE = (255, 255, 255)

_WITH_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}
_HIGHEST_16 = 65_535.0


def rgb_of(image: Image, parts: Callable[[], Iterable[Image]]) -> Callable[[Image], Image]:
    """What makes RGB of a part of `image`. `parts`: all of them; looked through where the range of
    the values is that of the picture.
    """
    if image.mode in _WIDE:
        lowest, highest = _range(image.mode, parts)
        clear = image.info.get("transparency")
        return lambda part: _scaled(part, lowest, highest, clear)
    if image.mode in _WITH_ALPHA or _has_clear_color(image):
        return _on_white
    return lambda part: part.convert("RGB")


def _has_clear_color(image: Image) -> bool:
    if image.mode == "P" and image.palette is not None and image.palette.mode.endswith("A"):
        return True
    return image.mode in ("1", "L", "P", "RGB") and image.info.get("transparency") is not None


def _on_white(part: Image) -> Image:
    from PIL import Image as Pillow

    if part.mode in _PREMULTIPLIED:
        part = part.convert(_PREMULTIPLIED[part.mode])
    part = part.convert("RGBA")
    ground = Pillow.new("RGB", part.size, WHITE)
    ground.paste(part, mask=part.getchannel("A"))
    return ground


def _scaled(part: Image, lowest: float, highest: float, clear: Any) -> Image:
    from PIL import Image as Pillow

    values = np.asarray(part)
    with np.errstate(all="ignore"):  # NaN and infinities have their place below
        wide = values.astype(np.float64)
        share = (wide - lowest) / (highest - lowest) if highest > lowest else wide * 0.0 + 0.5
    share = np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0)
    grey = np.rint(255.0 * np.clip(share, 0.0, 1.0)).astype(np.uint8)
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Pillow.fromarray(grey).convert("RGB")


def _range(mode: str, parts: Callable[[], Iterable[Image]]) -> tuple[float, float]:
    """The values that are black and white."""
    if mode not in ("I", "F"):
        return 0.0, _HIGHEST_16
    lowest, highest, whole = np.inf, -np.inf, True
    for part in parts():
        values: NDArray[Any] = np.asarray(part)
        finite = values[np.isfinite(values)]
        if finite.size:
            lowest = min(lowest, float(finite.min()))
            highest = max(highest, float(finite.max()))
            whole = whole and bool((finite == np.rint(finite)).all())
    if lowest > highest:  # not one finite value
        return 0.0, 1.0
    if mode == "I":
        return (0.0, _HIGHEST_16) if lowest >= 0 and highest <= _HIGHEST_16 else (lowest, highest)
    if lowest >= 0 and highest <= 1:
        return 0.0, 1.0
    return (0.0, 255.0) if whole and lowest >= 0 and highest <= 255 else (lowest, highest)
