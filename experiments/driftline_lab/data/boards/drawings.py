"""Drawings of pieces and boards as pixels, read from the installed package and kept in memory."""

from __future__ import annotations

import io
import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from driftline_lab.data.boards.sets import EMPTY, PIECES, PLAIN_BOARDS, SETS, WOODEN_BOARDS
from driftline_lab.drift.base import Picture
from driftline_shared.errors import ConfigError, DataError

SQUARE = 16
"""Pixels a side."""

PICTURE_SIZE = 8 * SQUARE
MAX_SVG_BYTES = 1024 * 1024
_DRAWN = 4 * SQUARE
_LEAST_DIFFERENCE = 1.0
"""Mean difference of two drawings at their real size, of 255: below it they look alike."""

_MILLIMETRES = re.compile(r"""(\b(?:width|height)\s*=\s*["'][\d.]+)mm""")


@cache
def sprites(name: str, size: int = SQUARE) -> NDArray[np.float32]:
    """(13, 16, 16, 4) float32 in 0..255, alpha last and in 0..1, by piece code.

    Each drawing is `size` pixels a side in the middle of its square. Raises ConfigError without the
    extra `boards`, DataError for a set of which a drawing is blank or two look alike.
    """
    tiles = np.zeros((len(PIECES), SQUARE, SQUARE, 4), dtype=np.float32)
    first = (SQUARE - size) // 2
    for code, art in enumerate(_drawings(name), start=1):
        small = np.asarray(art.resize((size, size), Image.Resampling.BOX), dtype=np.float32)
        tiles[code, first : first + size, first : first + size] = small
    tiles[..., 3] /= 255
    check_tiles(name, tiles)
    return tiles


@cache
def ground(name: str) -> Picture:
    """(128, 128, 3) uint8: the board of that name without pieces."""
    size = (PICTURE_SIZE, PICTURE_SIZE)
    if name in PLAIN_BOARDS:
        dark = np.indices((8, 8)).sum(axis=0) % 2
        squares = np.asarray(PLAIN_BOARDS[name], dtype=np.uint8)[dark]
        return squares.repeat(SQUARE, axis=0).repeat(SQUARE, axis=1)
    path = _package() / "board" / WOODEN_BOARDS[name]
    with Image.open(io.BytesIO(path.read_bytes()), formats=["JPEG"]) as image:
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))


def check_tiles(name: str, tiles: NDArray[np.float32]) -> None:
    """Raises DataError for a blank drawing, or two that look alike on grey, naming the pieces."""
    alpha = tiles[..., 3:]
    shown = (tiles[..., :3] * alpha + 127.5 * (1 - alpha)).reshape(len(tiles), -1)
    for code, piece in enumerate(PIECES):
        away = np.abs(shown[:code] - shown[code]).mean(axis=1)
        if (away < _LEAST_DIFFERENCE).any():
            other = int(away.argmin())
            what = "is blank" if other == EMPTY else f"looks like its {PIECES[other]}"
            raise DataError(
                f"piece set {name}: its {piece} {what}; another version of pychess-data? "
                "0.1.0 is known to work"
            )


def _drawings(name: str) -> list[Image.Image]:
    pieces = _package() / "pieces"
    return [_rasterize(_text(pieces / file), _DRAWN) for file in SETS[name].files()]


def _text(path: Traversable) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"pychess-data has no file {path.name} where 0.1.0 has one: {error.strerror}"
        ) from error
    if len(data) > MAX_SVG_BYTES:
        raise DataError(f"{path.name} has {len(data)} bytes; {MAX_SVG_BYTES} are expected")
    return str(data, "utf-8")


def without_units(svg: str) -> str:
    """The drawing with `mm` struck from the size of its root, which resvg-py refuses."""
    before, start, after = svg.partition("<svg")
    root, end, rest = after.partition(">")
    return before + start + _MILLIMETRES.sub(r"\1", root) + end + rest


def _rasterize(svg: str, size: int) -> Image.Image:
    try:
        import resvg_py
    except ImportError as error:
        raise _missing("resvg_py") from error
    png = resvg_py.svg_to_bytes(
        svg_string=without_units(svg), width=size, height=size, skip_system_fonts=True
    )
    return Image.open(io.BytesIO(bytes(png)), formats=["PNG"]).convert("RGBA")


@cache
def _package() -> Traversable:
    try:
        return files("pychess_data") / "static" / "images"
    except ImportError as error:
        raise _missing("pychess_data") from error


def _missing(module: str) -> ConfigError:
    return ConfigError(
        f"the world boards needs the package {module}: pip install 'driftline[boards]'"
    )
