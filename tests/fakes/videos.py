"""Small real videos: MJPEG in AVI, written with OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftline_device.sources.capture import load_opencv


def write_video(
    path: Path, values: Sequence[int], *, rate: float = 10.0, size: tuple[int, int] = (64, 48)
) -> Path:
    """One frame of that grey for each of `values`, `rate` a second; `size` is (width, height)."""
    cv2 = load_opencv("a test")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, size)
    assert writer.isOpened()
    for value in values:
        writer.write(np.full((size[1], size[0], 3), value, dtype=np.uint8))
    writer.release()
    return path
