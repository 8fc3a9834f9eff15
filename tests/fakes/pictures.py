"""Pictures drawn for tests, and regions of them as a device would make them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from driftline_shared.codec.positions import decode_positions
from driftline_shared.codec.regions import RegionEncoder, RegionSettings
from driftline_shared.tokens import Regions, Sample


def draw_picture(seed: int = 0, height: int = 96, width: int = 96) -> NDArray[np.uint8]:
    """(height, width, 3) uint8: a gradient with figures and a little noise on it."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:height, :width]
    ground = np.stack([down * 160 / height + 40, across * 90 / width + 80, 200 - down / 2], axis=-1)
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for number in range(6):
        top, left = int(rng.integers(height)), int(rng.integers(width))
        size = int(rng.integers(8, 16 + max(height, width) // 4))
        shape = pen.ellipse if number % 2 else pen.rectangle
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        shape((left, top, left + size, top + size), fill=colour)
    noisy = np.asarray(image) + rng.normal(0, 4, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def with_regions(
    sample: Sample,
    picture: NDArray[np.uint8] | None = None,
    settings: RegionSettings | None = None,
    canvas: tuple[int, int] | None = None,
) -> Sample:
    """`sample` with the regions of its tokens in `picture`."""
    if picture is None:
        picture = draw_picture(sample.id[-1])
    tokens, grid = sample.tokens, sample.tokens.grid
    kind = tokens.payload[0] & 3
    kept, _ = decode_positions(
        kind, tokens.payload, 1, count=tokens.num_tokens, places=grid.num_tokens
    )
    encoder = RegionEncoder(picture, grid, settings or RegionSettings(), canvas=canvas)
    return replace(sample, regions=encoder.encode(kept))


def to_jpeg(image: Image.Image, **options: object) -> bytes:
    """A JPEG file (or, with `format`, another one)."""
    file = io.BytesIO()
    image.save(file, **{"format": "JPEG", **options})  # type: ignore[arg-type]
    return file.getvalue()


def spoil(sample: Sample, **changes: object) -> Sample:
    """`sample` with other fields of its regions."""
    assert isinstance(sample.regions, Regions)
    return replace(sample, regions=replace(sample.regions, **changes))  # type: ignore[arg-type]
