"""A folder of images, in the order of their names, with one question for all of them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import structlog

from driftline_device.runtime.runtime import Question
from driftline_device.sources.source import BROKEN_FIX, MAX_PIXELS, read_image
from driftline_shared.errors import DataError
from driftline_shared.pictures import SUFFIXES

_log = structlog.get_logger(__name__)


class FolderSource:
    """Images below `folder`, files whose names end in a known way; others are passed over."""

    def __init__(self, folder: Path, *, question: str, max_pixels: int = MAX_PIXELS) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder")
        if not question.strip():
            raise DataError(f"{folder} is a folder of images: give a question to ask about each")
        self._folder = folder
        self._question = question
        self._max_pixels = max_pixels
        self.num_broken = 0

    @property
    def name(self) -> str:
        """The folder's name."""
        return self._folder.resolve().name

    def __iter__(self) -> Generator[Question, None, None]:
        """Images sorted by path; a broken one is logged and left out."""
        for path in sorted(self._folder.rglob("*")):
            if path.suffix.lower() not in SUFFIXES or not path.is_file():
                continue
            place = str(path)
            try:
                image = read_image(path, place=place, max_pixels=self._max_pixels)
            except DataError as error:
                self.num_broken += 1
                _log.warning("source.image_broken", place=place, error=str(error), fix=BROKEN_FIX)
                continue
            yield Question(image=image, text=self._question, domain=self.name, place=place)
