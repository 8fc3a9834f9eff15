"""Pictures of past answers: small ones, in memory by answer, and to and from PNG."""

from __future__ import annotations

import io
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import DataError
from driftline_shared.pictures import decode_image

Picture = NDArray[np.uint8]

MOST_SIDE = 512
"""Of a kept picture, in pixels, where the model brings pictures to no size of its own."""

_MAX_PIXELS = 4 << 20


def shrink(picture: Picture, canvas: tuple[int, int] | None) -> Picture:
    """`picture`, (H, W, 3) uint8, or a smaller one that the model reads about alike.

    `canvas`: (height, width) to which the pair brings pictures: twice that is kept, so that its
    own resizing still sees more pixels than it makes.
    """
    height, width = picture.shape[:2]
    most = (MOST_SIDE, MOST_SIDE) if canvas is None else (2 * canvas[0], 2 * canvas[1])
    scale = min(most[0] / height, most[1] / width)
    if scale >= 1.0:
        return picture
    from PIL import Image

    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.uint8)


def to_png(picture: Picture) -> bytes:
    """`picture` without loss."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def from_png(data: bytes) -> Picture | None:
    """What `to_png` coded; None where it does not read."""
    try:
        return decode_image(
            data, name="picture", place="history", max_pixels=_MAX_PIXELS, formats=("PNG",)
        )
    except DataError:
        return None


class RecentPictures:
    """The newest pictures by answer id, at most `max_bytes` of them; for one thread at a time."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._held: OrderedDict[str, Picture] = OrderedDict()

    def add(self, answer_id: str, picture: Picture) -> None:
        """Hold `picture`; the oldest ones make room. One that is larger than all room is not."""
        if picture.nbytes > self._max_bytes:
            return
        self._held[answer_id] = picture
        self._num_bytes += picture.nbytes
        while self._num_bytes > self._max_bytes:
            _, oldest = self._held.popitem(last=False)
            self._num_bytes -= oldest.nbytes

    def __len__(self) -> int:
        return len(self._held)

    def get(self, answer_id: str) -> Picture | None:
        """The picture of that answer, if it is still held."""
        return self._held.get(answer_id)
