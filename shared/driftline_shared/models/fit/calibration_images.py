"""Calibration images and their questions, read from a folder or a JSONL file.

What cannot be read is named and left out; the rest is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import DataError
from driftline_shared.pictures import SUFFIXES, read_image

if TYPE_CHECKING:
    from driftline_shared.pair.pair import Canvas

MAX_ROWS = 1_000_000
MAX_ROWS_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One question about image number `image`."""

    image: int
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """`paths`: the images, in order. `rows`: questions about them. `broken`: rows left out."""

    paths: tuple[Path, ...]
    rows: tuple[Row, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def num_images(self) -> int:
        return len(self.paths)

    def read(
        self, numbers: Iterable[int], canvas: Canvas | None, broken: list[str]
    ) -> tuple[list[int], list[NDArray[np.uint8]]]:
        """Numbers and pixels, as `read_picture`, of the images that can be read.

        What cannot is added to `broken`.
        """
        found: list[int] = []
        pictures: list[NDArray[np.uint8]] = []
        for number in numbers:
            try:
                pictures.append(read_picture(self.paths[number], canvas))
                found.append(number)
            except DataError as error:
                broken.append(str(error))
        return found, pictures

    def pictures(self, numbers: Sequence[int], canvas: Canvas | None) -> Pictures:
        """The images `numbers`, read again when they are asked for."""
        return Pictures([self.paths[number] for number in numbers], canvas)

    def rows_of(self, kept: Sequence[int]) -> list[Row]:
        """The rows about the images `kept`, numbered by their place in it."""
        place = {number: index for index, number in enumerate(kept)}
        return [replace(row, image=place[row.image]) for row in self.rows if row.image in place]


class Pictures(Sequence[NDArray[np.uint8]]):
    """Images that are read when they are looked at: hundreds of photos do not fit memory."""

    def __init__(self, paths: Sequence[Path], canvas: Canvas | None) -> None:
        self._paths = list(paths)
        self._canvas = canvas

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.uint8]: ...

    @overload
    def __getitem__(self, index: slice) -> list[NDArray[np.uint8]]: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
        if isinstance(index, slice):
            return [read_picture(path, self._canvas) for path in self._paths[index]]
        return read_picture(self._paths[index], self._canvas)


def folder_set(folder: Path, limit: int) -> CalibrationSet:
    """At most `limit` images below `folder`, spread over them in the order of their paths.

    Raises DataError where there are none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of images")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))})")
    return CalibrationSet(paths=tuple(_spread(paths, limit)))


def question_set(images: Path, file: Path, limit: int) -> CalibrationSet:
    """The images that rows of `file` ask about, at most `limit`, and those rows.

    A row is {"image": path relative to `images`, "question", "answer"}; a row that is not, is named
    in `broken` and left out. Raises DataError for a file without one good row.
    """
    by_path: dict[Path, list[tuple[str, str]]] = {}
    broken: list[str] = []
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            name, question, answer = _row(line)
        except DataError as error:
            broken.append(f"{file.name}:{number}: {error}")
            continue
        by_path.setdefault(images / name, []).append((question, answer))
    if not by_path:
        raise DataError(f"{file} has no row with image, question and answer ({broken[:1]})")
    paths = _spread(list(by_path), limit)
    rows = [
        Row(image=index, question=question, answer=answer)
        for index, path in enumerate(paths)
        for question, answer in by_path[path]
    ]
    return CalibrationSet(paths=tuple(paths), rows=tuple(rows), broken=tuple(broken))


def read_picture(path: Path, canvas: Canvas | None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 on the canvas, (F, H, W, 3) where it has F > 1 frames: the still repeated.

    Raises DataError naming the file and the cause.
    """
    from PIL import Image

    pixels = read_image(path, place=str(path))
    if canvas is None:
        return pixels
    size = (canvas.width, canvas.height)
    if (pixels.shape[1], pixels.shape[0]) != size:
        picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(picture, dtype=np.uint8)
    return pixels if canvas.frames == 1 else np.repeat(pixels[None], canvas.frames, axis=0)


def _lines(file: Path) -> list[str]:
    try:
        if file.stat().st_size > MAX_ROWS_BYTES:
            raise DataError(f"{file} has more than {MAX_ROWS_BYTES} bytes")
        # By \n alone: other separators may stand within a text.
        lines = file.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if len(lines) > MAX_ROWS:
        raise DataError(f"{file} has more than {MAX_ROWS} rows")
    return lines


def _row(line: str) -> tuple[str, str, str]:
    try:
        row = json.loads(line)
        values = [row[key] for key in ("image", "question", "answer")]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"no row with image, question and answer ({error!r})") from error
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise DataError("image, question and answer are texts, none of them empty")
    name, question, answer = values
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError(f"image {name!r} is a path below the folder of images")
    return name, question, answer


def _spread(paths: Sequence[Path], limit: int) -> list[Path]:
    """At most `limit` of `paths`, evenly spread."""
    if len(paths) <= limit:
        return list(paths)
    return [paths[i * len(paths) // limit] for i in range(limit)]
