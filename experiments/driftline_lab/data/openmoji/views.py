"""Views: a concept as a camera would meet it, in one of three styles, drawn from a view number.

`photo` is synthetic: the coloured drawing on a procedurally made busy ground, with the brightness,
blur and noise of a bad photograph. No photograph is used.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from driftline_lab.data.openmoji.concepts import Concept
from driftline_lab.data.openmoji.drawings import drawing
from driftline_lab.drift.base import Picture
from driftline_shared.errors import DataError

PICTURE_SIZE = 224
VIEWS_PER_USE = 1_000_000
_MARGIN = 4
_MAX_TILT_DEGREES = 12.0


class Style(StrEnum):
    """How a concept is shown; the first is the source domain, the others are drifts from it."""

    SOURCE = "source"
    LINEART = "lineart"
    PHOTO = "photo"


STYLES: tuple[Style, ...] = tuple(Style)


class Use(StrEnum):
    """What a view is for; no view number is in two."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    STREAM = "stream"
    TEST = "test"


def view_of(use: Use, number: int) -> int:
    """The view number of the `number`-th view for a use. Raises DataError outside 0..999,999."""
    if not 0 <= number < VIEWS_PER_USE:
        raise DataError(f"view {number} of {use}: numbers go from 0 to {VIEWS_PER_USE - 1:,}")
    return list(Use).index(use) * VIEWS_PER_USE + number


def render(concept: Concept, style: Style | str, *, view: int) -> Picture:
    """(224, 224, 3) uint8, RGB, the same for the same (concept, style, view).

    Place, scale (0.6 to 1 of the side), tilt (12 degrees at most) and mirroring depend on concept
    and view alone: the styles of one view show the same thing in the same place.
    """
    style = Style(style)
    art = drawing(concept, lines=style is Style.LINEART)
    if style is Style.SOURCE:
        return on_plain_ground(art, concept, view=view)
    rng, placed = _viewed(art, concept, view, STYLES.index(style))
    if style is Style.LINEART:
        return _grain(_on(_plain_ground(rng, darkest=236), placed), rng, sigma=3.0)
    return _photograph(_on(_busy_ground(rng), placed), rng)


def on_plain_ground(art: Image.Image, concept: Concept, *, view: int) -> Picture:
    """(224, 224, 3) uint8: a drawing of the concept, by whomever, as the source domain shows its
    own: same place, scale, tilt and light ground for the same (concept, view).
    """
    rng, placed = _viewed(art, concept, view, STYLES.index(Style.SOURCE))
    return np.asarray(_on(_plain_ground(rng, darkest=225), placed))


def _viewed(
    art: Image.Image, concept: Concept, view: int, style: int
) -> tuple[np.random.Generator, Image.Image]:
    """A generator for all but the place, and the art in its place."""
    code = int(concept.code, 16)
    placed = _placed(art, np.random.default_rng([view, code]))
    return np.random.default_rng([view, code, style]), placed


def _placed(art: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The art tilted, scaled and put somewhere on a transparent picture."""
    scale, tilt = rng.uniform(0.6, 1.0), rng.uniform(-_MAX_TILT_DEGREES, _MAX_TILT_DEGREES)
    if rng.random() < 0.5:
        art = art.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    art = art.rotate(tilt, resample=Image.Resampling.BICUBIC, expand=True)
    art = art.crop(art.getbbox())
    ratio = scale * (PICTURE_SIZE - 2 * _MARGIN) / max(art.size)
    width, height = (max(1, round(ratio * side)) for side in art.size)
    art = art.resize((width, height), Image.Resampling.LANCZOS)
    left = int(rng.integers(_MARGIN, PICTURE_SIZE - _MARGIN - width + 1))
    top = int(rng.integers(_MARGIN, PICTURE_SIZE - _MARGIN - height + 1))
    placed = Image.new("RGBA", (PICTURE_SIZE, PICTURE_SIZE))
    placed.paste(art, (left, top))
    return placed


def _on(ground: Image.Image, placed: Image.Image) -> Image.Image:
    ground.paste(placed, (0, 0), placed)
    return ground


def _plain_ground(rng: np.random.Generator, *, darkest: int) -> Image.Image:
    red, green, blue = (int(value) for value in rng.integers(darkest, 256, size=3))
    return Image.new("RGB", (PICTURE_SIZE, PICTURE_SIZE), (red, green, blue))


def _busy_ground(rng: np.random.Generator) -> Image.Image:
    """Noise of several octaves over a gradient of two colours, with blurred shapes."""
    size = (PICTURE_SIZE, PICTURE_SIZE)
    ends = rng.uniform(50, 205, size=(2, 1, 1, 1)) + rng.uniform(-40, 40, size=(2, 1, 1, 3))
    angle = rng.uniform(0, 2 * np.pi)
    rows, cols = np.mgrid[0:PICTURE_SIZE, 0:PICTURE_SIZE] / PICTURE_SIZE - 0.5
    ramp = np.clip(0.5 + rows * np.sin(angle) + cols * np.cos(angle), 0.0, 1.0)[..., None]
    field = ends[0] * (1 - ramp) + ends[1] * ramp
    for cells, height in ((4, 70.0), (10, 55.0), (28, 45.0), (64, 30.0)):
        # Light varies more than hue, as it does outdoors.
        grey, hue = rng.uniform(-1, 1, (cells, cells, 1)), rng.uniform(-1, 1, (cells, cells, 3))
        coarse = np.uint8(127.5 + 127.5 * (0.7 * grey + 0.3 * hue))
        octave = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
        field += height * (octave / 127.5 - 1.0)
    ground = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(ground)
    for _ in range(int(rng.integers(5, 12))):
        x, y = (int(value) for value in rng.integers(-40, PICTURE_SIZE, size=2))
        w, h = (int(value) for value in rng.integers(15, 110, size=2))
        tone = rng.integers(30, 225) + rng.integers(-40, 41, size=3)
        colour = tuple(int(value) for value in np.clip(tone, 0, 255))
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((x, y, x + w, y + h), fill=colour)
    return ground.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.5, 4.0))))


def _photograph(scene: Image.Image, rng: np.random.Generator) -> Picture:
    """The scene in the light of the moment, a little out of focus, with sensor noise."""
    scene = scene.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 1.1))))
    light = rng.uniform(0.55, 1.1) * rng.uniform(0.9, 1.1, size=3)
    lit = np.asarray(scene, dtype=np.float64) * light
    lit += rng.normal(0.0, rng.uniform(4.0, 14.0), size=lit.shape)
    return np.clip(lit, 0, 255).astype(np.uint8)


def _grain(paper: Image.Image, rng: np.random.Generator, *, sigma: float) -> Picture:
    lit = np.asarray(paper, dtype=np.float64)
    grain = rng.normal(0.0, sigma, size=(*lit.shape[:2], 1))
    return np.clip(lit + grain, 0, 255).astype(np.uint8)
