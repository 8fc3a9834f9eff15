"""A JSONL data set: rows {"image": path relative to the file's folder, "question", "answer"?,
"domain"?}.

A malformed row becomes a logged DataError with file and line number; the rest runs. Lines, texts
and images are bounded before they are loaded, and an image outside the file's folder is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Question
from driftline_device.sources.clips import ClipPlan
from driftline_device.sources.source import BROKEN_FIX, MAX_PIXELS, read_image
from driftline_shared.bounds import check_question
from driftline_shared.errors import DataError
from driftline_shared.pictures import check_file, shown
from driftline_shared.tokens import MAX_TEXT_CHARS

MAX_LINE_BYTES = 64 << 10
"""Most bytes of one row (64 KiB)."""

_log = structlog.get_logger(__name__)


class DatasetSource:
    """The rows of `path` in order."""

    def __init__(
        self, path: Path, *, max_pixels: int = MAX_PIXELS, clips: ClipPlan | None = None
    ) -> None:
        """`clips`: what a row may name instead of a picture, as a list of its pictures."""
        check_file(path)
        self._path = path
        self._folder = path.parent.resolve()
        self._max_pixels = max_pixels
        self._clips = clips
        self.num_broken = 0

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return shown(self._path.stem)

    def __iter__(self) -> Generator[Question, None, None]:
        """Good rows; a malformed one is logged with its line number and left out."""
        for number, line in self._lines():
            try:
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(
                        f"{shown(self._path)}:{number}: the row is longer than {MAX_LINE_BYTES} "
                        "bytes"
                    )
                question = self._read(line, number)
            except DataError as error:
                self.num_broken += 1
                _log.warning("source.row_malformed", error=str(error), fix=BROKEN_FIX)
                continue
            yield question

    def _lines(self) -> Generator[tuple[int, bytes], None, None]:
        """Lines that are not empty, with their numbers; of a too long one, its beginning. A file
        that cannot be read on is logged, and ends there.
        """
        number = 0
        try:
            with self._path.open("rb") as file:
                while line := file.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    more = line if len(line) > MAX_LINE_BYTES else b""
                    while more and not more.endswith(b"\n"):
                        more = file.readline(MAX_LINE_BYTES)
                    if line.strip():
                        yield number, line
        except OSError as error:
            self.num_broken += 1
            place = f"{shown(self._path)}:{number + 1}"
            _log.warning("source.unreadable", place=place, error=error.strerror, fix=BROKEN_FIX)

    def _read(self, line: bytes, number: int) -> Question:
        place = f"{shown(self._path)}:{number}"
        row = _parse(line, place)
        text = _text(row, "question", place)
        try:
            check_question(text)
        except DataError as error:
            raise DataError(f"{place}: {error}") from error
        truth = _text(row, "answer", place) if row.get("answer") is not None else None
        domain = _text(row, "domain", place) if row.get("domain") is not None else None
        named = row.get("image")
        return Question(
            image=self._clip(named, place)
            if isinstance(named, list)
            else self._picture(_text(row, "image", place), place),
            text=text,
            truth=truth,
            domain=domain,
            place=place,
        )

    def _picture(self, name: str, place: str) -> NDArray[np.uint8]:
        return read_image(self._inside(name, place), place=place, max_pixels=self._max_pixels)

    def _clip(self, names: list[object], place: str) -> NDArray[np.uint8]:
        """(F, H, W, 3) on the pair's canvas; each picture is let go before the next is read."""
        if self._clips is None:
            raise DataError(
                f"{place}: a list of pictures is a clip, and this pair reads single ones: name one "
                'picture, "image": "FILE"'
            )
        if len(names) != self._clips.num:
            raise DataError(
                f"{place}: {len(names)} pictures are named, this pair reads clips of "
                f"{self._clips.num}"
            )
        paths = [_text({"image": name}, "image", place) for name in names]
        return np.stack([self._clips.fitted(self._picture(path, place)) for path in paths])

    def _inside(self, name: str, place: str) -> Path:
        """The image's path; DataError if it leaves the folder, be it by a link."""
        try:
            path = (self._folder / name).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(f"{place}: image {name!r} is not a path ({error})") from error
        if not path.is_relative_to(self._folder):
            raise DataError(f"{place}: image {name!r} lies outside {self._folder}")
        return path


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not a JSON object ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: not a JSON object")
    return row


def _text(row: dict[str, Any], key: str, place: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f'{place}: "{key}" is missing or not a text')
    if len(value) > MAX_TEXT_CHARS:
        raise DataError(f'{place}: "{key}" is longer than {MAX_TEXT_CHARS} characters')
    if not value.isascii() and re.search(r"[\ud800-\udfff]", value):
        raise DataError(f'{place}: "{key}" holds half a sign (a lone surrogate)')
    return value
