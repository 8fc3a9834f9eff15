"""Which formats of pictures are read, and what else a file may be: for the refusal.

The list is explicit: Pillow knows forty more, whose decoders few people try, and hands PostScript
to an interpreter.
"""

from __future__ import annotations

import re
from functools import cache

SUFFIXES = frozenset(
    {
        ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp",
        ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif",
    }
)  # fmt: skip
"""Names of image files end so. What is in a file is found by its content alone."""

HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})

HEIC_FIX = "pip install 'driftline[heic]', or save it as JPEG"

_ALWAYS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@cache
def readable() -> tuple[str, ...]:
    """The formats that are read here, as Pillow names them; AVIF and HEIF where it can."""
    from PIL import features

    found = list(_ALWAYS)
    if features.check("avif"):
        found.append("AVIF")
    if _register_heif():
        found.append("HEIF")
    return tuple(found)


def suffixes() -> frozenset[str]:
    """Those of `SUFFIXES` whose formats are read here."""
    return SUFFIXES if "HEIF" in readable() else SUFFIXES - HEIC_SUFFIXES


def _register_heif() -> bool:
    """Let Pillow read HEIC by the optional package of the extra `heic`."""
    try:
        import pi_heif
    except ImportError:
        return False
    pi_heif.register_heif_opener(thumbnails=False)
    return True


def what_it_is(data: bytes) -> str:
    """What the first bytes of `data`, which is no picture that is read here, tell of it."""
    if not data:
        return "it is empty, not an image"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in _HEIC_BRANDS:
            return f"it is HEIC: {HEIC_FIX}"
        if brand in (b"avif", b"avis"):
            return "it is AVIF, which this installation's Pillow does not read: save it as JPEG"
        return "it is a video or another file of that kind"
    if _READ.match(data):
        return "it is broken from its beginning"
    for name, signature in _SIGNATURES.items():
        if signature.match(data):
            return f"it is {name}, which is not read: save it as PNG or JPEG"
    return "it is not an image"


_READ = re.compile(
    rb"\x89PNG|\xff\xd8|GIF8|BM|II[*+]\x00|MM\x00[*+]|P[1-7]\s|RIFF.{4}WEBP", re.DOTALL
)
_SIGNATURES = {
    "PostScript": re.compile(rb"%!|\xc5\xd0\xd3\xc6"),
    "PDF": re.compile(rb"%PDF"),
    "SVG": re.compile(rb"\s*(\xef\xbb\xbf)?\s*<(svg|\?xml|!DOCTYPE svg)", re.I),
    "JPEG 2000": re.compile(rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"),
    "JPEG XL": re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
    "a Photoshop file": re.compile(rb"8BPS"),
    "an icon": re.compile(rb"\x00\x00[\x01\x02]\x00"),
    "DDS": re.compile(rb"DDS "),
    "OpenEXR": re.compile(rb"\x76\x2f\x31\x01"),
    "QOI": re.compile(rb"qoif"),
    "a ZIP archive": re.compile(rb"PK\x03\x04"),
    "HTML": re.compile(rb"\s*<(html|!DOCTYPE html)", re.I),
}
"""Names for people -> how such files begin."""
