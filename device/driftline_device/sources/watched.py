"""A folder of images that fills while the device runs, with one question for all of them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import structlog

from driftline_device.runtime.runtime import Question
from driftline_device.sources.arrivals import Arrivals, FolderSettings
from driftline_device.sources.left_out import LeftOut
from driftline_device.sources.source import BROKEN_FIX, IDLE_S, MAX_PIXELS, read_image
from driftline_shared.errors import DataError
from driftline_shared.host.clock import Clock, SystemClock
from driftline_shared.pictures import shown
from driftline_shared.pictures.formats import suffixes

_log = structlog.get_logger(__name__)


class WatchedFolderSource:
    """Every image below `folder` once it is complete, in the order of arrival, without end;
    files that are no images are counted and told."""

    def __init__(
        self,
        folder: Path,
        *,
        question: str,
        settings: FolderSettings | None = None,
        max_pixels: int = MAX_PIXELS,
        clock: Clock | None = None,
    ) -> None:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder")
        if not question.strip():
            raise DataError(f"{folder} is a folder of images: give a question to ask about each")
        self._folder = folder
        self._question = question
        self._settings = settings or FolderSettings()
        self._max_pixels = max_pixels
        self._clock = clock or SystemClock()
        self.num_broken = 0
        self.left_out = LeftOut(folder)

    @property
    def name(self) -> str:
        """The folder's name."""
        return shown(self._folder.resolve().name)

    def __iter__(self) -> Generator[Question | None, None, None]:
        """Images as they come, None where none is at hand; a broken one is logged and left out."""
        arrivals = Arrivals(
            self._folder,
            suffixes(),
            self._settings,
            clock=self._clock,
            wait_s=IDLE_S,
            left_out=self.left_out,
        )
        with closing(arrivals):
            while True:
                paths = arrivals.take()
                self.left_out.tell(self._clock)
                for path in paths:
                    question = self._read(path)
                    if question is not None:
                        yield question
                yield None

    def _read(self, path: Path) -> Question | None:
        place = shown(path)
        try:
            image = read_image(path, place=place, max_pixels=self._max_pixels)
        except DataError as error:
            if path.exists():
                self.num_broken += 1
                _log.warning("source.image_broken", place=place, error=str(error), fix=BROKEN_FIX)
            return None
        return Question(image=image, text=self._question, domain=self.name, place=place)
