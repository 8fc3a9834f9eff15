"""Clips with their questions, by part and index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count as count_from
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from driftline_lab.data.tiny_video.drawing import draw
from driftline_lab.data.tiny_video.questions import Kind, Question, questions_of
from driftline_lab.data.tiny_video.scene import Scene, draw_scene
from driftline_shared.errors import ConfigError

NUM_FRAMES = 16
"""Frames of a clip by default, and what the reference model reads."""

_FRAMES = range(8, 33)


class Part(StrEnum):
    """A set of clips; its name is part of each clip's seed, so that no clip is in two."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One clip: `frames` (F, 64, 64, 3) uint8, whose each pixel is (F, 64, 64) int8 (index of the
    actor, -1 the background), and what can be asked.
    """

    scene: Scene
    frames: NDArray[np.uint8]
    owners: NDArray[np.int8]
    questions: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A question about a clip (F, 64, 64, 3) uint8; `index` tells clips of a part apart."""

    index: int
    clip: NDArray[np.uint8]
    question: str
    answer: str
    kind: Kind


def read_scene(part: Part, index: int, *, num_frames: int = NUM_FRAMES, seed: int = 0) -> Scene:
    """The scene of this clip, not drawn. Raises ConfigError as `read_clip` does."""
    return draw_scene(_rng(part, index, num_frames, seed), num_frames)


def read_clip(part: Part, index: int, *, num_frames: int = NUM_FRAMES, seed: int = 0) -> Clip:
    """The clip of this index. Raises ConfigError for fewer than 8 or more than 32 frames."""
    rng = _rng(part, index, num_frames, seed)
    scene = draw_scene(rng, num_frames)
    frames, owners = draw(scene, rng)
    return Clip(scene=scene, frames=frames, owners=owners, questions=questions_of(scene))


def _rng(part: Part, index: int, num_frames: int, seed: int) -> np.random.Generator:
    if num_frames not in _FRAMES:
        raise ConfigError(
            f"a clip of tiny-video has {_FRAMES.start} to {_FRAMES.stop - 1} frames, "
            f"not {num_frames}"
        )
    return np.random.default_rng([seed, list(Part).index(part), index, num_frames])


def examples(part: Part, *, num_frames: int = NUM_FRAMES, seed: int = 0) -> Iterator[Example]:
    """The questions of a part clip by clip, without end; questions of one clip share its array."""
    for index in count_from():
        clip = read_clip(part, index, num_frames=num_frames, seed=seed)
        for asked in clip.questions:
            yield Example(
                index=index,
                clip=clip.frames,
                question=asked.text,
                answer=asked.answer,
                kind=asked.kind,
            )


def clips(part: Part, count: int, *, num_frames: int = NUM_FRAMES, seed: int = 0) -> list[Example]:
    """The first `count` questions of a part, about a fifth as many clips."""
    return list(islice(examples(part, num_frames=num_frames, seed=seed), count))
