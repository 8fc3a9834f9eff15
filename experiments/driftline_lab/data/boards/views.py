"""Views: a position as a domain shows it, drawn from a number."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from zlib import crc32

import numpy as np

from driftline_lab.data.boards.domains import DOMAINS
from driftline_lab.data.boards.drawings import PICTURE_SIZE, SQUARE, ground, sprites
from driftline_lab.data.boards.positions import Position, position
from driftline_lab.data.boards.questions import Asked, questions
from driftline_lab.drift.base import Picture
from driftline_shared.errors import DataError

VIEWS_PER_USE = 1_000_000
_SIZES = (14, 15, 16)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A picture and what is on it. `style`: which set, as the domain's sets are numbered."""

    picture: Picture
    squares: Position
    piece_set: str


def view(domain: str, number: int) -> View:
    """The view of that number; the same number gives another position in each domain."""
    rng = np.random.default_rng([number, crc32(domain.encode())])
    squares = position(rng)
    sets, boards = DOMAINS[domain].sets, DOMAINS[domain].boards
    name = sets[int(rng.integers(len(sets)))]
    board = boards[int(rng.integers(len(boards)))]
    return View(picture=compose(squares, name, board, rng), squares=squares, piece_set=name)


def asked_of(domain: str, number: int, count: int) -> list[Asked]:
    """`count` questions about a view, the first ones the same for every count."""
    squares = position(np.random.default_rng([number, crc32(domain.encode())]))
    return questions(squares, count, np.random.default_rng([number, crc32(domain.encode()), 1]))


def compose(squares: Position, piece_set: str, board: str, rng: np.random.Generator) -> Picture:
    """(128, 128, 3) uint8, white below, in drawn light, with a little noise."""
    tiles = sprites(piece_set, _SIZES[int(rng.integers(len(_SIZES)))])[squares]
    shape = (8, 8, SQUARE, SQUARE, 4)
    drawn = tiles.reshape(shape).transpose(0, 2, 1, 3, 4).reshape(PICTURE_SIZE, PICTURE_SIZE, 4)
    alpha = drawn[..., 3:]
    lit = drawn[..., :3] * alpha + ground(board) * (1 - alpha)
    lit *= rng.uniform(0.85, 1.05) * rng.uniform(0.97, 1.03, size=3).astype(np.float32)
    noise = rng.standard_normal(lit.shape, dtype=np.float32)
    lit += noise * np.float32(rng.uniform(0.0, 5.0))
    return np.clip(lit, 0, 255).astype(np.uint8)
