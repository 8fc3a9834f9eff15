"""What a task of lmms-eval shows a model, as the uint8 arrays that models here read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from driftline_device.sources.capture import load_opencv
from driftline_shared.errors import DataError

Pixels = NDArray[np.uint8]

MOST_BYTES = 2 << 30
"""Of one clip's pixels."""


def shown(visuals: Any, frames: int) -> Pixels:
    """The one picture (H, W, 3), or of a clip `frames` pictures (F, H, W, 3), that a document of a
    task shows: a PIL picture, a list of them, or the path of a video.

    `frames`: 1 for a model that reads pictures. Raises DataError for what such a model cannot read.
    """
    found = visuals if isinstance(visuals, list | tuple) else [visuals]
    if not found or found[0] is None:
        raise DataError("a document without a picture: this model answers questions about pictures")
    if isinstance(found[0], str | Path):
        if frames == 1 or len(found) > 1:
            raise DataError(f"{len(found)} videos: this model reads {_reads(frames)}")
        return read_clip(Path(found[0]), frames)
    if frames == 1:
        if len(found) > 1:
            raise DataError(f"{len(found)} pictures in one question: this model reads one")
        return _rgb(found[0])
    # A task may give a video as its frames; they need one size to be a clip.
    chosen = [_rgb(found[index]) for index in frame_numbers(len(found), frames)]
    if len({picture.shape for picture in chosen}) > 1:
        raise DataError(f"{len(found)} pictures of several sizes: this model reads a clip")
    return np.stack(chosen)


def frame_numbers(total: int, frames: int) -> list[int]:
    """`frames` numbers below `total`, evenly from the first to the last, some twice where there
    are too few.
    """
    return [int(number) for number in np.linspace(0, total - 1, frames).round()]


def read_clip(path: Path, frames: int) -> Pixels:
    """(F, H, W, 3) of a video file, its frames evenly chosen; only those are held.

    Raises DataError for a file that is no video or too large, ConfigError without OpenCV.
    """
    cv2 = load_opencv(str(path))
    video = cv2.VideoCapture(str(path))
    try:
        total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        if not video.isOpened() or total < 1:
            raise DataError(f"{path} cannot be read as a video")
        height, width = (
            int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
        )
        if 3 * frames * height * width > MOST_BYTES:
            raise DataError(
                f"{path}: {frames} frames of {width} x {height} are more than "
                f"{MOST_BYTES >> 20} MiB; make the video smaller"
            )
        wanted = frame_numbers(total, frames)
        held: dict[int, Pixels] = {}
        for number in range(wanted[-1] + 1):
            # What is not wanted is not turned into a picture.
            if not video.grab():
                break
            if number in wanted:
                good, picture = video.retrieve()
                if not good:
                    break
                held[number] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    finally:
        video.release()
    if not held:
        raise DataError(f"{path} has no frame that can be read")
    # Containers may count more frames than they hold: the last one stands for those.
    last = max(held)
    return np.stack([held[number] if number in held else held[last] for number in wanted])


def _rgb(picture: Any) -> Pixels:
    if not isinstance(picture, Image.Image):
        raise DataError(f"a {type(picture).__name__} is no picture")
    return np.asarray(picture.convert("RGB"))


def _reads(frames: int) -> str:
    return "one clip" if frames > 1 else "one picture"
