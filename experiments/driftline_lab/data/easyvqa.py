"""The source domain: pictures and questions of the `easy-vqa` package, split by image.

easy-VQA (Victor Zhou, MIT licence) has 4,000 train and 1,000 test pictures of 64 x 64 pixels, one
figure each, with about ten questions per picture. Its split is kept; its train pictures are split
again, by image id, into `train`, `calibration` and `stream`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np
from PIL import Image

from driftline_lab.drift.base import Picture
from driftline_lab.drift.reworded import COLOURS, SHAPES

PICTURE_SIZE = 64
NUM_CALIBRATION = 300
NUM_STREAM = 700
_SPLIT_SEED = 20_231_122


class Part(StrEnum):
    """A set of pictures; no picture is in two."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    STREAM = "stream"
    TEST = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A question about a picture, with its answer."""

    image_id: int
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the questions of a picture tell about its figure; `None` where they do not tell."""

    shape: str | None
    colour: str | None


@cache
def image_ids(part: Part) -> tuple[int, ...]:
    """Image ids of a part, rising. Ids of test pictures start at 4,000: one id, one picture."""
    num_train = 4_000
    if part is Part.TEST:
        return tuple(range(num_train, num_train + 1_000))
    order = np.random.default_rng(_SPLIT_SEED).permutation(num_train)
    stream, calibration, train = np.split(order, [NUM_STREAM, NUM_STREAM + NUM_CALIBRATION])
    chosen = {Part.STREAM: stream, Part.CALIBRATION: calibration, Part.TRAIN: train}[part]
    return tuple(int(i) for i in np.sort(chosen))


def read_picture(image_id: int) -> Picture:
    """(64, 64, 3) uint8, RGB."""
    folder, name = ("train", image_id) if image_id < 4_000 else ("test", image_id - 4_000)
    with (_data() / folder / "images" / f"{name}.png").open("rb") as stream:
        return np.asarray(Image.open(stream).convert("RGB"))


def questions_of(image_id: int) -> tuple[Example, ...]:
    """The examples of a picture, in the data set's order."""
    return _by_image()[image_id]


def examples(part: Part) -> Iterator[Example]:
    """The examples of a part, picture by picture."""
    for image_id in image_ids(part):
        yield from questions_of(image_id)


def facts_of(image_id: int) -> Facts:
    """Shape and colour of the figure, as far as the questions and answers tell them."""
    shape: str | None = None
    colour: str | None = None
    for example in questions_of(image_id):
        absent = " not " in example.question or example.question.startswith("is no ")
        is_what = example.question.startswith("what")
        affirmed = is_what or example.answer == ("no" if absent else "yes")
        words = [example.answer, *(example.question.rstrip("?").split() if affirmed else ())]
        shape = next((word for word in words if word in SHAPES), shape)
        colour = next((word for word in words if word in COLOURS), colour)
    return Facts(shape=shape, colour=colour)


def _data() -> Traversable:
    return files("easy_vqa") / "data"


@cache
def _by_image() -> dict[int, tuple[Example, ...]]:
    found: dict[int, list[Example]] = {image_id: [] for image_id in range(5_000)}
    for folder, first_id in (("train", 0), ("test", 4_000)):
        rows = json.loads((_data() / folder / "questions.json").read_text(encoding="utf-8"))
        for question, answer, image_id in rows:
            example = Example(image_id=first_id + image_id, question=question, answer=answer)
            found[example.image_id].append(example)
    return {image_id: tuple(rows) for image_id, rows in found.items()}
