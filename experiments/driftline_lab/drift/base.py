"""What a drift is: a named change of pictures, of questions, or of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8, RGB."""

PictureChange = Callable[[Picture, np.random.Generator], Picture]
QuestionChange = Callable[[str, np.random.Generator], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """A synthetic change of the world; answers stay what they were.

    `picture` and `question` are pure functions of their input and a generator; `None` leaves that
    side alone.
    """

    name: str
    summary: str
    picture: PictureChange | None = None
    question: QuestionChange | None = None

    def change_picture(self, picture: Picture, *, seed: int, image_id: int) -> Picture:
        """The drifted picture, the same for the same (seed, image_id)."""
        if self.picture is None:
            return picture
        return self.picture(picture, self._generator(seed, image_id))

    def change_question(self, question: str, *, seed: int, image_id: int) -> str:
        """The drifted question, the same for the same (seed, image_id, question)."""
        if self.question is None:
            return question
        return self.question(question, self._generator(seed, image_id, crc32(question.encode())))

    def _generator(self, seed: int, *salt: int) -> np.random.Generator:
        return np.random.default_rng([seed, crc32(self.name.encode()), *salt])
