"""An image on its way into a family's own processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline_shared.pair.image_steps import check_not_slim, wrong_frames
from driftline_shared.pair.pair import Canvas


def image_processor(model_dir: Path) -> Any:
    """The checkpoint's own image processor, in the form that needs no torchvision."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(model_dir, local_files_only=True, backend="pil")


def on_canvas(
    image: NDArray[np.uint8], canvas: Canvas | None, *, any_shape: bool = False
) -> list[Any]:
    """PIL images of the canvas's size: one of (H, W, 3), F of (F, H, W, 3). Bicubic.

    Without a canvas one image as it is, for processors that give one size for any. Raises DataError
    for another number of frames than the canvas has, and without a canvas for slim ones, unless
    `any_shape`: the processor makes no picture larger than its size, whatever the sides.
    """
    from PIL import Image

    frames = image[None] if image.ndim == 3 else image
    wanted = canvas.frames if canvas is not None else 1
    if len(frames) != wanted:
        raise wrong_frames(len(frames), wanted)
    pictures = [Image.fromarray(frame) for frame in frames]
    if canvas is None:
        for picture in () if any_shape else pictures:
            check_not_slim(picture.height, picture.width)
        return pictures
    size = (canvas.width, canvas.height)
    return [p if p.size == size else p.resize(size, Image.Resampling.BICUBIC) for p in pictures]
