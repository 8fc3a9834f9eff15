"""Which frames of a video or camera are asked about: at a fixed rate, when the view changes, or
both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_shared.program.section import Section, setting

THUMBNAIL_SIDE = 32
"""Cells along each side of the thumbnail by which two frames are compared."""

_SAMPLES = 4  # pixels looked at along each side of a cell


class FrameSettings(Section):
    """Which frames of a video or camera are asked about. Times in seconds."""

    every_s: float = setting(
        1.0, "at most one frame of a video or camera in so many seconds; 0: every frame", ge=0
    )
    min_change: float = setting(
        0.0,
        "only frames that differ from the one asked about before by this share of full "
        "brightness, 0 to 1; 0: any",
        ge=0,
        lt=1,
    )
    timeout_s: float = setting(
        5.0, "a camera that sends nothing for so long is lost, and tried again", gt=0
    )


class FrameSampler:
    """Chooses among the frames of one video or camera, given in the order of their times."""

    def __init__(self, settings: FrameSettings) -> None:
        self._settings = settings
        self._due_s: float | None = None
        self._kept: NDArray[np.float32] | None = None

    def due(self, at_s: float) -> bool:
        """Whether a frame at `at_s` seconds may be kept: others need not be decoded."""
        # Times are sums of fractions: a frame must not miss its turn by a rounding.
        return self._due_s is None or at_s >= self._due_s - 1e-6

    def keep(self, image: NDArray[np.uint8], at_s: float) -> bool:
        """Whether to ask about the (H, W, 3) `image` taken at `at_s`, which is due."""
        if self._settings.min_change > 0:
            seen = thumbnail(image)
            if self._kept is not None and change(self._kept, seen) < self._settings.min_change:
                return False
            self._kept = seen
        every_s = self._settings.every_s
        if self._due_s is not None and at_s < self._due_s + every_s:
            self._due_s += every_s  # a fixed rate does not drift with the times of the frames
        else:
            self._due_s = at_s + every_s
        return True


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey means of (H, W, 3) `image` on a grid of at most 32 x 32 cells, float32 in 0..1."""
    height, width = image.shape[:2]
    most = THUMBNAIL_SIDE * _SAMPLES
    few = image[:: max(1, height // most), :: max(1, width // most)].mean(axis=2, dtype=np.float32)
    cells = few
    for axis in (0, 1):
        edges = np.linspace(
            0, cells.shape[axis], min(THUMBNAIL_SIDE, cells.shape[axis]), False, dtype=np.intp
        )
        counts = np.diff(np.append(edges, cells.shape[axis])).astype(np.float32)
        sums = np.add.reduceat(cells, edges, axis=axis)
        cells = sums / (counts[:, None] if axis == 0 else counts)
    return np.asarray(cells / 255.0, dtype=np.float32)


def change(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean absolute difference of two thumbnails, 0..1; 1 if their sizes differ."""
    return float(np.abs(one - other).mean()) if one.shape == other.shape else 1.0
