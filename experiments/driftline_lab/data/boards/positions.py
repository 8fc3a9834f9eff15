"""Positions made by rule: legal to look at, not reached by play.

Kings stand apart, no pawn stands on ranks 1 and 8, and neither side has more of a kind than a game
starts with. Numbers are drawn evenly, so that no count is the likely one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from driftline_lab.data.boards.sets import COLOURS, EMPTY, TYPES, piece_code

FILES = "abcdefgh"
SQUARES: tuple[str, ...] = tuple(f"{file}{rank}" for rank in range(8, 0, -1) for file in FILES)
"""Names of the squares in the order of the visual tokens: a8, b8 ... h1."""

MOST = {"king": 1, "queen": 1, "rook": 2, "bishop": 2, "knight": 2, "pawn": 8}
_MOST_PAWNS_DRAWN = 6

Position = NDArray[np.int64]
"""(64,) piece codes by square, in the order of `SQUARES`."""


def position(rng: np.random.Generator) -> Position:
    """A drawn position."""
    squares: Position = np.full(64, EMPTY, dtype=np.int64)
    white, black = _kings(rng)
    squares[white], squares[black] = piece_code("white", "king"), piece_code("black", "king")
    for colour in COLOURS:
        for kind in TYPES[1:]:
            most = min(MOST[kind], _MOST_PAWNS_DRAWN)
            free = np.flatnonzero(squares == EMPTY)
            if kind == "pawn":
                free = free[(free >= 8) & (free < 56)]
            count = int(rng.integers(most + 1))
            squares[rng.permutation(free)[:count]] = piece_code(colour, kind)
    return squares


def rank_squares(rank: int) -> slice:
    """The eight squares of rank 1..8."""
    return slice(8 * (8 - rank), 8 * (9 - rank))


def _kings(rng: np.random.Generator) -> tuple[int, int]:
    """Two squares that do not touch."""
    white = int(rng.integers(64))
    while True:
        black = int(rng.integers(64))
        if max(abs(white // 8 - black // 8), abs(white % 8 - black % 8)) > 1:
            return white, black
