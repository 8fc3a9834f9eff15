"""OpenCV, which reads videos and cameras: loaded when one is opened, and only here."""

from __future__ import annotations

import math
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline_device.sources.video_cause import why_unreadable
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.pictures import shown

DEVICES = Path("/dev")

# What OpenCV and the libraries below it print by themselves: a broken stream would flood a log,
# and their lines hold URLs with passwords. They look at these once, when they are loaded.
_QUIET = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}


class Capture:
    """An open video or camera; `shown` names it for people. Frames come one after the other."""

    def __init__(self, cv2: Any, raw: Any, shown: str, max_pixels: int) -> None:
        self._cv2 = cv2
        self._raw = raw
        self._shown = shown
        self._max_pixels = max_pixels
        width, height = (int(self._number(key) or 0) for key in ("FRAME_WIDTH", "FRAME_HEIGHT"))
        self._bound(width, height)

    @property
    def frame_s(self) -> float:
        """Seconds from one frame to the next, as the video says; 1/25 if it does not."""
        rate = self._number("FPS") or 0.0
        return 1.0 / rate if 0.1 <= rate <= 1000.0 else 1.0 / 25.0

    @property
    def num_frames(self) -> int | None:
        """Frames of the whole video, as its header says."""
        number = self._number("FRAME_COUNT")
        return int(number) if number and number > 0 else None

    @property
    def at_s(self) -> float | None:
        """When the frame at hand is shown, seconds from the beginning, as the video says."""
        number = self._number("POS_MSEC")
        return None if number is None else number / 1000.0

    def grab(self) -> bool:
        """Go to the next frame without making an image of it; False if there is none."""
        try:
            return bool(self._raw.grab())
        except self._cv2.error:
            return False

    def image(self) -> NDArray[np.uint8] | None:
        """The frame at hand: (H, W, 3) uint8 RGB; None if it is broken.

        Raises DataError if it is larger than allowed.
        """
        try:
            good, frame = self._raw.retrieve()
            if not good or frame is None or frame.dtype != np.uint8:
                return None
            self._bound(frame.shape[1], frame.shape[0])
            code = self._cv2.COLOR_GRAY2RGB if frame.ndim == 2 else self._cv2.COLOR_BGR2RGB
            return np.asarray(self._cv2.cvtColor(frame, code), dtype=np.uint8)
        except self._cv2.error:
            return None

    def close(self) -> None:
        """Let the file, the camera or the connection go."""
        self._raw.release()

    def _number(self, key: str) -> float | None:
        number = float(self._raw.get(getattr(self._cv2, f"CAP_PROP_{key}")))
        return number if math.isfinite(number) else None

    def _bound(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise DataError(
                f"{self._shown}: frames of {width} x {height} pixels, at most {self._max_pixels}"
            )


def load_opencv(shown: str) -> Any:
    """The module; ConfigError naming the extra if it is not installed."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            f"{shown} needs OpenCV, which cannot be loaded ({error}): "
            "pip install 'driftline[camera]'"
        ) from error
    # Where another package loaded it first, it did not look at the variables above.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def open_video(path: Path, *, max_pixels: int) -> Capture:
    """The video file at its first frame; DataError if it is none or its frames are too large."""
    cv2 = load_opencv(str(path))
    name = shown(path)
    raw = cv2.VideoCapture(_text(str(path), name), cv2.CAP_FFMPEG)
    if not raw.isOpened():
        raise DataError(f"{name} is no video that can be read: {why_unreadable(path)}")
    return _opened(cv2, raw, name, max_pixels, f"{name} is no video that can be read")


def open_camera(which: str, *, max_pixels: int) -> Capture:
    """A camera of this device, by number or path; DataError if it cannot be opened."""
    shown = f"camera {which}"
    cv2 = load_opencv(shown)
    backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
    raw = cv2.VideoCapture(int(which) if which.isdecimal() else _text(which, shown), backend)
    raw.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    cause = f"{shown} cannot be opened; another program may hold it"
    return _opened(cv2, raw, shown, max_pixels, cause)


def open_stream(url: str, *, shown: str, timeout_s: float, max_pixels: int) -> Capture:
    """A stream of the network; DataError if it does not begin within `timeout_s` seconds."""
    cv2 = load_opencv(shown)
    wait_ms = max(1, int(1000 * timeout_s))
    raw = cv2.VideoCapture(
        _text(url, shown),
        cv2.CAP_FFMPEG,
        [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, wait_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, wait_ms],
    )
    cause = f"{shown} sends no video; look at address, user and password"
    return _opened(cv2, raw, shown, max_pixels, cause)


def check_camera(which: str) -> None:
    """DataError if this device has no camera `which`; nothing is opened."""
    if sys.platform != "linux":
        if not which.isdecimal():
            raise DataError(f"camera {which!r} is not a number")
        return
    path = DEVICES / f"video{which}" if which.isdecimal() else Path(which)
    try:
        found = stat.S_ISCHR(path.stat().st_mode)
    except (OSError, ValueError):
        found = False
    if not found:
        there = ", ".join(camera.name for camera in _cameras()) or "none"
        raise DataError(f"there is no camera {which} ({path}); cameras of this device: {there}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise DataError(f"camera {which} ({path}): no permission; join the group that owns it")


def _cameras() -> list[Path]:
    found = [path for path in DEVICES.glob("video*") if re.fullmatch(r"video\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("video")))


def _text(address: str, shown: str) -> str:
    """`address`, if it is UTF-8; DataError if not: OpenCV would take the process down with it."""
    try:
        address.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{shown} cannot be opened: its name is no UTF-8, so rename it") from None
    return address


def _opened(cv2: Any, raw: Any, shown: str, max_pixels: int, cause: str) -> Capture:
    if not raw.isOpened():
        raise DataError(cause)
    try:
        return Capture(cv2, raw, shown, max_pixels)
    except DataError:
        raw.release()
        raise
