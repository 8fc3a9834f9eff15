"""A picture into the pixels a vision tower reads, with numpy and PIL only.

The steps of export.json, each as transformers' image processors compute it on a CPU: the export
compares both on random pictures, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import DataError
from driftline_shared.pair.image_table import (
    CenterCrop,
    ImageTable,
    Normalize,
    Rescale,
    Resize,
    ResizeShortest,
    Split,
    Step,
    Tiles,
)

MAX_RATIO = 100
"""Times that a picture without a canvas may be longer than wide: its short side is brought to a
size, and the long one, which nothing else bounds, in proportion.
"""


def check_not_slim(height: int, width: int) -> None:
    """DataError for a picture that would grow without bound."""
    if max(height, width) > MAX_RATIO * max(min(height, width), 1):
        raise DataError(
            f"the picture has {width} x {height} pixels: no side may be over {MAX_RATIO} times the "
            "other, for this pair resizes the shorter one"
        )


def pixels_of(image: NDArray[np.uint8], table: ImageTable) -> NDArray[np.float32]:
    """(H, W, 3) uint8 -> (3, `table.height`, `table.width`) float32; where a step splits it into F
    views, and of a clip of F frames (F, H, W, 3), (F, 3, `table.height`, `table.width`).

    Raises DataError for another number of frames than the table has.
    """
    frames = image[None] if image.ndim == 3 else image
    if len(frames) != table.num_frames:
        raise wrong_frames(len(frames), table.num_frames)
    if table.num_frames == 1:
        return _pixels(frames[0], table.steps)
    return np.stack([_pixels(frame, table.steps[1:]) for frame in frames])


def wrong_frames(found: int, wanted: int) -> DataError:
    """A picture where clips are read, or a clip of another length; the text says what to give."""
    given = "a single picture" if found == 1 else f"a clip of {found} pictures"
    if wanted == 1:
        return DataError(
            f"this pair reads single pictures and was given {given}: give it one picture at a time"
        )
    return DataError(
        f"this pair reads clips of {wanted} pictures and was given {given}: ask about a video "
        "(`driftline device ask VIDEO QUESTION`), or give the device a video, camera or folder as "
        "a source, of whose pictures it makes clips",
        fix="A row of a data set lists the pictures of its clip (docs/operations.md#clips).",
    )


def _pixels(image: NDArray[np.uint8], steps: Sequence[Step]) -> NDArray[np.float32]:
    array: NDArray[Any] = image
    for step in steps:
        array = _STEPS[step.step](array, step)
    return np.ascontiguousarray(np.moveaxis(array, -1, -3), dtype=np.float32)


def _resized(image: NDArray[np.uint8], step: Resize) -> NDArray[np.uint8]:
    return _resize(image, step.height, step.width, step.resample)


def _resized_shortest(image: NDArray[np.uint8], step: ResizeShortest) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    check_not_slim(height, width)
    short, long = min(height, width), max(height, width)
    longest = int(step.edge * long / short)
    wanted = (step.edge, longest) if height <= width else (longest, step.edge)
    return _resize(image, *wanted, step.resample)


def _resize(image: NDArray[np.uint8], height: int, width: int, resample: int) -> NDArray[np.uint8]:
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    picture = Image.fromarray(image).resize((width, height), Image.Resampling(resample))
    return np.asarray(picture, dtype=np.uint8)


def _cropped(image: NDArray[np.uint8], step: CenterCrop) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if height < step.height or width < step.width:
        tall, wide = max(height, step.height), max(width, step.width)
        whole = np.zeros((tall, wide, 3), dtype=np.uint8)
        above, left = -(-(tall - height) // 2), -(-(wide - width) // 2)
        whole[above : above + height, left : left + width] = image
        image, height, width = whole, tall, wide
    above, left = (height - step.height) // 2, (width - step.width) // 2
    return image[above : above + step.height, left : left + step.width]


def _split(image: NDArray[np.uint8], step: Split) -> NDArray[np.uint8]:
    views = _cut(image, step.side)
    if len(views) == 1:
        return views
    whole = _resize(image, step.side, step.side, step.resample)
    return np.concatenate([views, whole[None]])


def _tiled(image: NDArray[np.uint8], step: Tiles) -> NDArray[np.uint8]:
    padded = np.zeros((step.rows * step.side, step.cols * step.side, 3), dtype=np.uint8)
    # Of an odd rest the larger half lies behind.
    above, left = (padded.shape[0] - step.height) // 2, (padded.shape[1] - step.width) // 2
    padded[above : above + step.height, left : left + step.width] = _resize(
        image, step.height, step.width, step.resample
    )
    whole = _resize(image, step.side, step.side, step.resample)
    return np.concatenate([whole[None], _cut(padded, step.side)])


def _cut(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """(rows * side, cols * side, 3) -> (rows * cols, side, side, 3)."""
    tiles = image.reshape(image.shape[0] // side, side, image.shape[1] // side, side, 3)
    return tiles.swapaxes(1, 2).reshape(-1, side, side, 3)


def _rescaled(image: NDArray[Any], step: Rescale) -> NDArray[np.float32]:
    return (image.astype(np.float64) * step.factor).astype(np.float32)


def _normalized(image: NDArray[Any], step: Normalize) -> NDArray[np.float32]:
    values = image.astype(np.float32)
    mean, std = np.asarray(step.mean, dtype=np.float32), np.asarray(step.std, dtype=np.float32)
    return (values - mean) / std


_STEPS: dict[str, Callable[[NDArray[Any], Any], NDArray[Any]]] = {
    "resize": _resized,
    "resize_shortest": _resized_shortest,
    "center_crop": _cropped,
    "split": _split,
    "tiles": _tiled,
    "rescale": _rescaled,
    "normalize": _normalized,
}
"""Name of a step -> what it does to (H, W, 3), behind a split to (F, H, W, 3)."""
