"""A picture and its kept tokens -> JPEG parts, and back to one composed picture.

The picture is first brought to the pair's canvas, H x W pixels. Token (row, col) of a grid of R x C
sees the cell of pixels [row * H // R, (row + 1) * H // R) x [col * W // C, (col + 1) * W // C).

    thumbnail   the whole picture, small
    crops       the cells of the K kept tokens in one mosaic of ceil(sqrt(K)) columns, in the order
                of their positions; each cell lies in a tile whose sides are multiples of 16, filled
                up by repeating its last row and column
    whole       instead of both, the whole picture, where that takes no more bytes

One mosaic, because a JPEG has about 350 bytes before its first pixel: a file for each cell takes
more bytes than the whole picture. Tiles of 16, because no 8 x 8 block of a JPEG, nor of its halved
colours, then holds pixels of two cells: scattered cells cost less, and only the outermost pixels
of a cell take on a little of its neighbour's colour. Files are sequential with one scan and Huffman
tables of their own; progressive ones are larger below 20 kB, and slow to read if made to be. Same
picture, same Pillow: same bytes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from driftline_shared import bounds
from driftline_shared.errors import Reason, SampleError
from driftline_shared.program.section import Section, setting
from driftline_shared.tokens import (
    MAX_PICTURE_PIXELS,
    MAX_PICTURE_SIDE,
    MAX_THUMBNAIL_SIDE,
    Grid,
    RegionLayout,
    Regions,
)

Pixels = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""

DEFAULT_SIDE = 512
"""Most pixels of the long side of a picture whose pair names no canvas."""

_TILE = 16
_START_OF_SCAN = b"\xff\xda"


class RegionSettings(Section):
    """How regions are made."""

    thumbnail_side: int = setting(
        64,
        f"pixels of the long side of what shows the whole image, 1 to {MAX_THUMBNAIL_SIDE}",
        ge=1,
        le=MAX_THUMBNAIL_SIDE,
    )
    # Below 30 a table may hold the two bytes that begin a scan, which `_decode` counts.
    quality: int = setting(75, "JPEG quality of every part of an image, 30 to 95", ge=30, le=95)


class RegionEncoder:
    """Regions of one picture for any choice of its tokens."""

    def __init__(
        self,
        image: Pixels,
        grid: Grid,
        settings: RegionSettings,
        *,
        canvas: tuple[int, int] | None = None,
    ) -> None:
        """`canvas`: (height, width) of the pair; None: the picture's own size, within bounds.

        Raises SampleError for a clip, or a picture that has not a pixel for each token.
        """
        if grid.frames != 1 or image.ndim != 3:
            raise SampleError("regions are of single pictures", reason=Reason.SAMPLE_SHAPE)
        self._grid = grid
        self._settings = settings
        self._picture = _resized(image, canvas or _within(image, DEFAULT_SIDE))
        height, width = self._picture.shape[:2]
        _check_canvas(height, width, grid)
        small = _resized(self._picture, _within(self._picture, settings.thumbnail_side))
        self._thumbnail = self._encode(small)
        self._whole = self._encode(self._picture)

    def encode(self, positions: NDArray[np.integer]) -> Regions:
        """The parts for the tokens at `positions` (K,), rising flat indices, or the whole picture.

        Raises SampleError if the cells of so many tokens are too many pixels.
        """
        mosaic = self._mosaic(positions)
        height, width = self._picture.shape[:2]
        parts = Regions(
            layout=RegionLayout.MOSAIC,
            height=height,
            width=width,
            thumbnail=self._thumbnail,
            crops=self._encode(mosaic),
        )
        if len(self._whole) > parts.num_bytes:
            return parts
        return Regions(
            layout=RegionLayout.WHOLE,
            height=height,
            width=width,
            thumbnail=b"",
            crops=self._whole,
        )

    def _mosaic(self, positions: NDArray[np.integer]) -> Pixels:
        height, width = self._picture.shape[:2]
        plan = _Plan.of(height, width, self._grid, len(positions))
        mosaic = np.full((plan.height, plan.width, 3), 128, dtype=np.uint8)
        for cell, tile in plan.places(positions):
            pixels = self._picture[cell]
            below, right = (plan.tile[axis] - pixels.shape[axis] for axis in (0, 1))
            mosaic[tile] = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")
        return mosaic

    def _encode(self, pixels: Pixels) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(
            file, "JPEG", quality=self._settings.quality, subsampling="4:2:0", optimize=True
        )
        return file.getvalue()


def compose(regions: Regions, positions: NDArray[np.integer], grid: Grid) -> Pixels:
    """(height, width, 3) uint8: the thumbnail enlarged, with the cells at their places on it.

    `positions` (K,): the kept tokens', rising, each within `grid`. SampleError for anything that is
    not JPEG of exactly the sizes that follow from the arguments; sizes are read from the headers
    and bounded before a pixel is decoded.
    """
    bounds.check_regions(regions, grid)
    size = (regions.height, regions.width)
    if regions.layout is RegionLayout.WHOLE:
        return _decode(regions.crops, "the picture", size)
    plan = _Plan.of(*size, grid, len(positions))
    mosaic = _decode(regions.crops, "the mosaic", (plan.height, plan.width))
    picture = _resized(_decode(regions.thumbnail, "the thumbnail", None), size)
    for cell, tile in plan.places(positions):
        height, width = (part.stop - part.start for part in cell)
        picture[cell] = mosaic[tile][:height, :width]
    return picture


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Where cells lie in the picture, and their tiles in the mosaic; sizes in pixels."""

    rows: list[slice]
    cols: list[slice]
    tile: tuple[int, int]
    across: int
    down: int

    @classmethod
    def of(cls, height: int, width: int, grid: Grid, num_cells: int) -> _Plan:
        rows, cols = _cut(height, grid.rows), _cut(width, grid.cols)
        tile_height, tile_width = (
            -(-max(part.stop - part.start for part in parts) // _TILE) * _TILE
            for parts in (rows, cols)
        )
        across = math.isqrt(max(num_cells, 1) - 1) + 1
        plan = cls(
            rows=rows,
            cols=cols,
            tile=(tile_height, tile_width),
            across=across,
            down=-(-num_cells // across),
        )
        if not 0 < plan.height * plan.width <= MAX_PICTURE_PIXELS:
            raise _refusal(f"the cells of {num_cells} tokens are no pixels or too many")
        return plan

    @property
    def height(self) -> int:
        return self.down * self.tile[0]

    @property
    def width(self) -> int:
        return self.across * self.tile[1]

    def places(
        self, positions: NDArray[np.integer]
    ) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """(cell in the picture, tile in the mosaic) of each token."""
        for number, position in enumerate(positions):
            row, col = divmod(int(position), len(self.cols))
            top = number // self.across * self.tile[0]
            left = number % self.across * self.tile[1]
            tile = slice(top, top + self.tile[0]), slice(left, left + self.tile[1])
            yield (self.rows[row], self.cols[col]), tile


def _decode(data: bytes, what: str, size: tuple[int, int] | None) -> Pixels:
    """The pixels of one JPEG of (height, width) `size`, or of any thumbnail's size."""
    # A file may hold thousands of scans, each of which costs a pass over all pixels. Between the
    # headers that we write and those of other honest encoders these two bytes stand for a scan.
    if data.count(_START_OF_SCAN) != 1:
        raise _refusal(f"{what} is no JPEG of one scan")
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            width, height = image.size
            fits = (height, width) == size if size else max(height, width) <= MAX_THUMBNAIL_SIDE
            if not fits or image.format != "JPEG" or image.mode != "RGB":
                raise _refusal(f"{what} is a {image.mode} {image.format} of {height} x {width}")
            return np.array(image, dtype=np.uint8)
    except SampleError:
        raise
    # What a decoder raises on hostile bytes is no closed list, and no reason to keep the sample.
    except Exception as error:
        raise _refusal(f"{what} does not decode ({type(error).__name__})") from error


def _resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    """`image` at (height, width) `size`."""
    if image.shape[:2] == size:
        return image
    height, width = size
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(resized, dtype=np.uint8)


def _within(image: Pixels, side: int) -> tuple[int, int]:
    """(height, width) of `image`, in proportion, with no side longer than `side`."""
    height, width = image.shape[:2]
    share = min(1.0, side / max(height, width))
    return max(1, round(height * share)), max(1, round(width * share))


def _check_canvas(height: int, width: int, grid: Grid) -> None:
    if height < grid.rows or width < grid.cols or max(height, width) > MAX_PICTURE_SIDE:
        raise _refusal(
            f"a picture of {height} x {width} pixels has no cells for {grid.rows} x {grid.cols}"
        )


def _cut(length: int, parts: int) -> list[slice]:
    return [slice(i * length // parts, (i + 1) * length // parts) for i in range(parts)]


def _refusal(text: str) -> SampleError:
    return SampleError(text, reason=Reason.SAMPLE_PICTURE_INVALID)
