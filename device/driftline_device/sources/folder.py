"""A folder of images, in the order of their names, with one question for all of them."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import structlog

from driftline_device.runtime.runtime import Question
from driftline_device.sources.arrivals import is_temporary
from driftline_device.sources.left_out import LeftOut
from driftline_device.sources.source import BROKEN_FIX, MAX_PIXELS, read_image
from driftline_shared.errors import DataError
from driftline_shared.pictures import shown
from driftline_shared.pictures.formats import suffixes

_log = structlog.get_logger(__name__)


class FolderSource:
    """Images below `folder`, files whose names end in a known way; others are counted and told."""

    def __init__(self, folder: Path, *, question: str, max_pixels: int = MAX_PIXELS) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder")
        if not question.strip():
            raise DataError(f"{folder} is a folder of images: give a question to ask about each")
        self._folder = folder
        self._question = question
        self._max_pixels = max_pixels
        self.num_broken = 0
        self.left_out = LeftOut(folder)

    @property
    def name(self) -> str:
        """The folder's name."""
        return shown(self._folder.resolve().name)

    def __iter__(self) -> Generator[Question, None, None]:
        """Images sorted by path; a broken one is logged and left out."""
        paths = self._images()
        self.left_out.tell()
        for path in paths:
            place = shown(path)
            try:
                image = read_image(path, place=place, max_pixels=self._max_pixels)
            except DataError as error:
                self._break(place, str(error))
                continue
            yield Question(image=image, text=self._question, domain=self.name, place=place)

    def _images(self) -> list[Path]:
        known, found = suffixes(), []
        for folder, _, names in os.walk(self._folder, onerror=self._unreadable):
            for name in names:
                path = Path(folder, name)
                if path.suffix.lower() not in known:
                    if not is_temporary(name):
                        self.left_out.add(str(path))
                elif _may_be_read(path):
                    found.append(path)
                else:
                    self.left_out.add(str(path), is_file=False)
        return sorted(found)

    def _unreadable(self, error: OSError) -> None:
        self._break(shown(error.filename or self._folder), error.strerror or str(error))

    def _break(self, place: str, error: str) -> None:
        self.num_broken += 1
        _log.warning("source.image_broken", place=place, error=error, fix=BROKEN_FIX)


def _may_be_read(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # whatever it is, reading it says why not
        return True
