"""Pictures of past answers: small ones, in memory by answer, and to and from PNG.

A clip is one PNG, too: its pictures side by side, with their number in the text chunk `frames`.
"""

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
_MAX_CLIP_PIXELS = 3_000_000  # less than what decoding makes smaller
_FRAMES = "frames"


def shrink(picture: Picture, canvas: tuple[int, int] | None) -> Picture:
    """`picture`, (H, W, 3) or (F, H, W, 3) uint8, or a smaller one that the model reads about
    alike.

    `canvas`: (height, width) to which the pair brings pictures: twice that is kept, so that its
    own resizing still sees more pixels than it makes; of a clip at most `_MAX_CLIP_PIXELS`.
    """
    height, width = picture.shape[-3:-1]
    most = (MOST_SIDE, MOST_SIDE) if canvas is None else (2 * canvas[0], 2 * canvas[1])
    scale = min(most[0] / height, most[1] / width)
    if picture.ndim == 4:
        scale = min(scale, (_MAX_CLIP_PIXELS / (len(picture) * height * width)) ** 0.5)
    if scale >= 1.0:
        return picture
    from PIL import Image

    # Rounded up, a clip could be over what is read again.
    whole = round if picture.ndim == 3 else int
    size = (max(1, whole(width * scale)), max(1, whole(height * scale)))

    def small(image: Picture) -> Picture:
        resized = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
        return np.asarray(resized, dtype=np.uint8)

    return small(picture) if picture.ndim == 3 else np.stack([small(frame) for frame in picture])


def to_png(picture: Picture) -> bytes:
    """`picture` without loss."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    buffer, info = io.BytesIO(), PngInfo()
    if picture.ndim == 4:
        info.add_text(_FRAMES, str(len(picture)))
        picture = np.concatenate(picture, axis=1)
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=3, pnginfo=info)
    return buffer.getvalue()


def from_png(data: bytes) -> Picture | None:
    """What `to_png` coded; None where it does not read."""
    from PIL import Image

    try:
        picture = decode_image(
            data, name="picture", place="history", max_pixels=_MAX_PIXELS, formats=("PNG",)
        )
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            frames = opened.info.get(_FRAMES)
        if frames is None:
            return picture
        height, width = picture.shape[:2]
        return np.stack(np.split(picture.reshape(height, width, 3), int(frames), axis=1))
    except (DataError, ValueError, ArithmeticError, OSError):
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
