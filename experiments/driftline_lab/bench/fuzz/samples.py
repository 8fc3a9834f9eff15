"""Small good pictures to begin with: every format that Pillow writes, in every mode it takes, with
what hangs on pictures beside their pixels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

from driftline_shared.pictures.silence import silence_pillow

WIDTH, HEIGHT = 40, 24
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
_PROGRAMS = ("PDF",)
"""What Pillow writes, and no reader of pictures reads."""


@cache
def good_pictures() -> dict[str, bytes]:
    """By a name: format, mode and what is special."""
    Image.init()
    found: dict[str, bytes] = {}
    for form in sorted(set(Image.SAVE) - set(_PROGRAMS)):
        for mode in MODES:
            for kind, options in _kinds(form):
                data = _encoded(_drawn(mode), form, options)
                if data is not None:
                    found[f"{form} {mode} {kind}".strip()] = data
    found |= {f"PPM {number}": data for number, data in enumerate(_plain_ppms())}
    found["HEIF head"] = b"\0\0\0\x20ftypheic" + bytes(200)
    return found


def _drawn(mode: str) -> Image.Image:
    ramp = np.add.outer(np.arange(HEIGHT) * 6, np.arange(WIDTH) * 3).astype(np.uint8)
    picture = Image.merge("RGB", [Image.fromarray(each) for each in (ramp, 255 - ramp, ramp // 2)])
    if mode == "I;16":
        return Image.fromarray(ramp.astype(np.uint16) * 257)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(np.where(ramp > 100, 255, ramp).astype(np.uint8)))
    return picture.convert(mode)


def _kinds(form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ways to write `form`: the plain one, and those that other decoders of Pillow read."""
    yield "", {}
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [_drawn("RGB"), _drawn("RGB").rotate(90)]}
    if form in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "MPO"):
        yield "exif", {"exif": exif}
        yield "icc", {"icc_profile": _profile()}
    if form in ("PNG", "GIF", "WEBP", "TIFF", "AVIF", "MPO"):
        yield "frames", frames
    if form == "JPEG":
        yield "progressive", {"progressive": True, "restart_marker_blocks": 2}
    if form == "WEBP":
        yield "lossless", {"lossless": True}
    if form in ("PNG", "GIF"):
        yield "clear", {"transparency": 0}
    if form == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("note", "x" * 500, zip=True)
        text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
        yield "text", {"pnginfo": text}
    if form == "TIFF":
        for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4", "webp"):
            yield compression, {"compression": compression}


@cache
def _profile() -> bytes:
    profile: bytes = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile


def _encoded(picture: Image.Image, form: str, options: dict[str, Any]) -> bytes | None:
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            silence_pillow()
            picture.save(file, form, **options)
    except Exception:  # not every format takes every mode
        return None
    return file.getvalue()


def _plain_ppms() -> Iterator[bytes]:
    yield b"P2\n# a word\n4 2\n9\n0 1 2 3\n4 5 6 7\n"
    yield b"P1\n4 2\n0 1 1 0 1 0 0 1\n"
    yield b"P3\n2 1\n255\n1 2 3 4 5 6\n"
    yield b"P5 4 1 65535\n\0\1\0\2\0\3\xff\xff"
    yield b"Pf\n2 1\n-1.0\n" + np.array([0.5, np.nan], "<f4").tobytes()
