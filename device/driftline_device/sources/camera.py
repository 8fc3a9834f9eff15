"""A camera of this device or of the network, with one question for each frame that is chosen."""

from __future__ import annotations

from collections.abc import Generator

from driftline_device.runtime.runtime import Question
from driftline_device.sources.address import SourceAddress
from driftline_device.sources.capture import (
    Capture,
    check_camera,
    load_opencv,
    open_camera,
    open_stream,
)
from driftline_device.sources.feed import BACKOFF, Feed
from driftline_device.sources.frames import FrameSampler, FrameSettings
from driftline_device.sources.source import IDLE_S, MAX_PIXELS
from driftline_shared.errors import DataError
from driftline_shared.host.clock import Clock, SystemClock
from driftline_shared.retry import Backoff


class CameraSource:
    """The newest frame whenever one is due, without end. A lost camera is tried until it is back.

    A camera of this device must be there at the start (DataError), one of the network need not.
    """

    def __init__(
        self,
        address: SourceAddress,
        *,
        question: str,
        frames: FrameSettings | None = None,
        max_pixels: int = MAX_PIXELS,
        clock: Clock | None = None,
        backoff: Backoff = BACKOFF,
    ) -> None:
        if not question.strip():
            raise DataError(f"{address.shown} is a camera: give a question to ask about its frames")
        if not address.is_url:
            check_camera(address.target)
        load_opencv(address.shown)
        self._address = address
        self._question = question
        self._frames = frames or FrameSettings()
        self._max_pixels = max_pixels
        self._clock = clock or SystemClock()
        self._backoff = backoff
        self.num_broken = 0

    @property
    def name(self) -> str:
        """The address, without user and password."""
        return self._address.shown

    def __iter__(self) -> Generator[Question | None, None, None]:
        """A frame, then None: nothing older waits behind it."""
        sampler = FrameSampler(self._frames)
        feed = Feed(self.name, self._connect, sampler.due, clock=self._clock, backoff=self._backoff)
        feed.start()
        try:
            while True:
                frame = feed.take(IDLE_S)
                self.num_broken = feed.num_broken
                # The frame may have been read before the last one was kept.
                if frame and sampler.due(frame.at_s) and sampler.keep(frame.image, frame.at_s):
                    yield Question(
                        image=frame.image,
                        text=self._question,
                        domain=self.name,
                        place=f"{self.name}#{frame.number}",
                        at_s=frame.at_s,
                    )
                yield None
        finally:
            feed.stop(self._frames.timeout_s + 1.0)

    def _connect(self) -> Capture:
        if not self._address.is_url:
            check_camera(self._address.target)
            return open_camera(self._address.target, max_pixels=self._max_pixels)
        return open_stream(
            self._address.target,
            shown=self.name,
            timeout_s=self._frames.timeout_s,
            max_pixels=self._max_pixels,
        )
