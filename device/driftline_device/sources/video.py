"""A video file, with one question for each frame that is chosen."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import structlog

from driftline_device.runtime.runtime import Question
from driftline_device.sources.capture import Capture, open_video
from driftline_device.sources.frames import FrameSampler, FrameSettings
from driftline_device.sources.source import BROKEN_FIX, MAX_PIXELS
from driftline_device.sources.video_cause import why_unreadable
from driftline_shared.errors import DataError
from driftline_shared.pictures import check_file, shown

SILENCE_S = 0.5
"""Longest time in which frames are passed over without a word to whoever reads."""

PROGRESS_S = 10.0
"""Seconds from one line about progress to the next."""

_log = structlog.get_logger(__name__)


class VideoSource:
    """The chosen frames of `path` in order; DataError if it is no video."""

    def __init__(
        self,
        path: Path,
        *,
        question: str,
        frames: FrameSettings | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_file(path)
        if not question.strip():
            raise DataError(f"{path} is a video: give a question to ask about its frames")
        self._path = path
        self._question = question
        self._frames = frames or FrameSettings()
        self._max_pixels = max_pixels
        self._num_read = 0
        self._num_frames: int | None = None
        self.num_broken = 0
        with closing(self._open()) as capture:
            if not capture.grab() or capture.image() is None:
                cause = why_unreadable(path)
                raise DataError(f"{shown(path)} holds no frame that can be read: {cause}")

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return shown(self._path.stem)

    @property
    def progress(self) -> float | None:
        """Share of the file that has been read, 0..1; None if its header does not say."""
        return min(1.0, self._num_read / self._num_frames) if self._num_frames else None

    def __iter__(self) -> Generator[Question | None, None, None]:
        """Frames that are due and differ enough; None now and then where many are passed over."""
        sampler, self._num_read = FrameSampler(self._frames), 0
        with closing(self._open()) as capture:
            said_s = told_s = time.monotonic()
            for at_s in self._times(capture):
                question = self._read(capture, sampler, at_s)
                now_s = time.monotonic()
                if question is not None or now_s - said_s >= SILENCE_S:
                    yield question
                    said_s = time.monotonic()
                if now_s - told_s >= PROGRESS_S:
                    told_s = now_s
                    _log.info("video.progress", video=shown(self._path), progress=self._shown())
        if self.progress is not None and self.progress < 0.9:
            _log.warning(
                "video.ended_early",
                video=shown(self._path),
                num_read=self._num_read,
                num_frames=self._num_frames,
                fix="The file is cut or broken there; what could be read was used.",
            )

    def _open(self) -> Capture:
        capture = open_video(self._path, max_pixels=self._max_pixels)
        self._num_frames = capture.num_frames
        return capture

    def _times(self, capture: Capture) -> Generator[float, None, None]:
        """Go from frame to frame; the time of each. They rise even where the file's do not."""
        last_s = -capture.frame_s
        while capture.grab():
            self._num_read += 1
            said_s = capture.at_s
            last_s = said_s if said_s is not None and said_s > last_s else last_s + capture.frame_s
            yield last_s

    def _read(self, capture: Capture, sampler: FrameSampler, at_s: float) -> Question | None:
        if not sampler.due(at_s):
            return None
        place = f"{shown(self._path)}@{at_s:.2f}s"
        try:
            image = capture.image()
            if image is None:
                raise DataError(f"{place}: the frame cannot be decoded")
        except DataError as error:
            self.num_broken += 1
            _log.warning("source.frame_broken", place=place, error=str(error), fix=BROKEN_FIX)
            return None
        if not sampler.keep(image, at_s):
            return None
        return Question(image=image, text=self._question, domain=self.name, place=place, at_s=at_s)

    def _shown(self) -> str:
        return "unknown" if self.progress is None else f"{100 * self.progress:.0f} %"
