"""Draws a scene: shapes with soft edges over a textured background that stands still.

As in a recorded clip most of each frame repeats the one before, up to the sensor's noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from driftline_lab.data.tiny_video.scene import SIDE, Actor, Scene, wrapped

NOBODY = -1
"""Owner of a pixel that shows the background."""

_SENSOR_NOISE = 1.5
"""Standard deviation, in grey levels of 255."""


def draw(scene: Scene, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """The clip (F, 64, 64, 3) uint8, and whose each pixel is (F, 64, 64): index of the actor."""
    frames = np.tile(_background(rng), (scene.num_frames, 1, 1, 1))
    owners = np.full(frames.shape[:3], NOBODY, dtype=np.int8)
    for index, actor in enumerate(scene.actors):
        shown = range(actor.first, actor.stop)
        cover = _cover(actor)[..., None]
        paint = np.array([ImageColor.getrgb(actor.colour(f)) for f in shown], dtype=np.float32)
        part = frames[actor.first : actor.stop]
        part += cover * (paint[:, None, None] - part)
        owners[actor.first : actor.stop][cover[..., 0] > 0.5] = index
    frames += rng.normal(0, _SENSOR_NOISE, size=frames.shape).astype(np.float32)
    return frames.round().clip(0, 255).astype(np.uint8), owners


def _background(rng: np.random.Generator) -> NDArray[np.float32]:
    """(64, 64, 3) light, with coarse and fine texture."""
    picture = np.tile(rng.uniform(185, 225, size=3), (SIDE, SIDE, 1)).astype(np.float32)
    for cells, strength in ((6, 14.0), (32, 5.0)):
        coarse = rng.normal(0, strength, size=(cells, cells)).astype(np.float32)
        smooth = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture += np.asarray(smooth)[..., None]
    return picture


def _cover(actor: Actor) -> NDArray[np.float32]:
    """(frames seen, 64, 64) share of each pixel that the actor covers, in 0..1."""
    pixel = np.arange(SIDE) + 0.5
    centres = actor.centres[actor.first : actor.stop]
    x = wrapped(pixel - centres[:, :1])[:, None, :]
    y = wrapped(pixel - centres[:, 1:])[:, :, None]
    wide, high = actor.half
    if actor.shape == "circle":
        inside = min(wide, high) - np.hypot(x, y)
    elif actor.shape == "rectangle":
        inside = np.minimum(wide - np.abs(x), high - np.abs(y))
    else:
        # Tip above; the slanted sides' distance is measured along their normal.
        slant = (wide * (y + high) / (2 * high) - np.abs(x)) * 2 * high / np.hypot(wide, 2 * high)
        inside = np.minimum(slant, high - y)
    cover: NDArray[np.float32] = (inside + 0.5).clip(0, 1).astype(np.float32)
    return cover
