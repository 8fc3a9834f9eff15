"""One thread that keeps the newest frame of a camera, and comes back when the camera does."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from driftline_device.sources.capture import Capture
from driftline_shared.errors import DriftlineError
from driftline_shared.host.clock import Clock
from driftline_shared.retry import Backoff, delays

BACKOFF = Backoff(first_s=0.5, cap_s=30.0)
"""Waits before a lost camera is tried again."""

STEADY_S = 10.0
"""A camera that sent frames for so long is tried at once when it is lost."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """`image`: (H, W, 3) uint8 RGB; `at_s`: monotonic seconds; `number`: from 1 since the start."""

    image: NDArray[np.uint8]
    at_s: float
    number: int


class Feed:
    """The newest frame of the camera that `connect` opens; older ones are dropped unseen.

    `wanted`: whether a frame at a time is of use; others are not made into images. `connect`
    raises DriftlineError while the camera is away: logged once per outage.
    """

    def __init__(
        self,
        shown: str,
        connect: Callable[[], Capture],
        wanted: Callable[[float], bool],
        *,
        clock: Clock,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self._shown = shown
        self._connect = connect
        self._wanted = wanted
        self._clock = clock
        self._waits = delays(backoff, random.Random())
        self._backoff = backoff
        self._ending = threading.Event()
        self._arrived = threading.Condition()
        self._newest: Frame | None = None
        self._lost_s: float | None = None
        self._num_frames = 0
        self.num_broken = 0
        self._thread = threading.Thread(target=self._run, name="driftline-camera", daemon=True)

    def start(self) -> None:
        """Begin to read in the background."""
        self._thread.start()

    def take(self, timeout_s: float) -> Frame | None:
        """The newest frame that nobody took, waiting at most `timeout_s` seconds for one."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._newest is not None, timeout_s)
            frame, self._newest = self._newest, None
            return frame

    def stop(self, timeout_s: float) -> None:
        """End and let the camera go; a camera that hangs is left after `timeout_s` seconds."""
        self._ending.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            _log.warning("camera.hangs", camera=self._shown, fix="It is let go once it answers.")

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                with closing(self._connect()) as capture:
                    self._lose(self._read(capture))
            except DriftlineError as error:
                self._lose(str(error))
            except Exception as error:  # whatever it is, the camera is tried again
                self._lose(f"{type(error).__name__}: {error}")
            self._clock.wait(self._ending, next(self._waits))

    def _read(self, capture: Capture) -> str:
        """Keep the newest frame until there is none; why it ended."""
        began_s = self._clock.monotonic_s()
        while not self._ending.is_set():
            if not capture.grab():
                if self._clock.monotonic_s() - began_s >= STEADY_S:
                    self._waits = delays(self._backoff, random.Random())
                return "it sends no more frames"
            at_s = self._clock.monotonic_s()
            self._num_frames += 1
            if not self._wanted(at_s):
                continue
            image = capture.image()
            if image is None:
                self.num_broken += 1
                continue
            self._find()
            with self._arrived:
                self._newest = Frame(image=image, at_s=at_s, number=self._num_frames)
                self._arrived.notify()
        return "stopped"

    def _lose(self, reason: str) -> None:
        if self._lost_s is None and not self._ending.is_set():
            self._lost_s = self._clock.monotonic_s()
            _log.warning(
                "camera.lost",
                camera=self._shown,
                error=reason,
                fix="It is tried again until it answers; look at the camera and its network.",
            )

    def _find(self) -> None:
        if self._lost_s is not None:
            away_s = self._clock.monotonic_s() - self._lost_s
            self._lost_s = None
            _log.info("camera.back", camera=self._shown, away_s=round(away_s, 1))
