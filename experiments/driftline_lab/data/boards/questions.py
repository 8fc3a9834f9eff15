"""Questions about a position, with their answers, by kind.

Of a hundred questions about 88 are decided by one square. What stands there is drawn first and the
square second: drawn by square, "nothing" would win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from driftline_lab.data.boards.positions import SQUARES, Position, rank_squares
from driftline_lab.data.boards.sets import COLOURS, EMPTY, PIECES, TYPES, piece_code


class Kind(StrEnum):
    """What a question asks; the first two are decided by one square."""

    PIECE = "piece"
    COLOUR = "colour"
    COUNT = "count"
    RANK = "rank"


ONE_SQUARE = (Kind.PIECE, Kind.COLOUR)
KIND_SHARES = {Kind.PIECE: 0.66, Kind.COLOUR: 0.22, Kind.COUNT: 0.06, Kind.RANK: 0.06}


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question with its answer. `square`: the one that decides, as a visual token's number."""

    kind: Kind
    question: str
    answer: str
    square: int | None = None


def about_square(squares: Position, square: int, kind: Kind) -> Asked:
    """What stands on a square, or its colour; a square that holds nothing has no colour."""
    name, code = SQUARES[square], int(squares[square])
    if kind is Kind.COLOUR and code != EMPTY:
        question, answer = f"what colour is the piece on {name}?", PIECES[code].split()[0]
        return Asked(kind=Kind.COLOUR, question=question, answer=answer, square=square)
    question = f"what stands on {name}?"
    return Asked(kind=Kind.PIECE, question=question, answer=PIECES[code], square=square)


def count_question(squares: Position, colour: str, kind: str) -> Asked:
    """How many pieces of a kind there are."""
    number = int((squares == piece_code(colour, kind)).sum())
    return Asked(kind=Kind.COUNT, question=f"how many {colour} {kind}s?", answer=str(number))


def rank_question(squares: Position, colour: str, kind: str, rank: int) -> Asked:
    """Whether a piece stands on a rank."""
    found = bool((squares[rank_squares(rank)] == piece_code(colour, kind)).any())
    return Asked(
        kind=Kind.RANK,
        question=f"is there a {colour} {kind} on rank {rank}?",
        answer="yes" if found else "no",
    )


def questions(
    squares: Position,
    number: int,
    rng: np.random.Generator,
    shares: Mapping[Kind, float] = KIND_SHARES,
) -> list[Asked]:
    """`number` drawn questions, kinds by `shares`; the same one may come twice.

    The first ones are the same for every number.
    """
    return [_draw(squares, _draw_kind(rng, shares), rng) for _ in range(number)]


def all_questions() -> tuple[str, ...]:
    """Every question that can be asked, once."""
    found = [f"what stands on {name}?" for name in SQUARES]
    found += [f"what colour is the piece on {name}?" for name in SQUARES]
    pairs = [(colour, kind) for colour in COLOURS for kind in TYPES]
    found += [f"how many {colour} {kind}s?" for colour, kind in pairs if kind != "king"]
    found += [
        f"is there a {colour} {kind} on rank {rank}?"
        for colour, kind in pairs
        for rank in range(1, 9)
    ]
    return tuple(found)


def _draw_kind(rng: np.random.Generator, shares: Mapping[Kind, float]) -> Kind:
    drawn = rng.random()
    for kind, share in shares.items():
        drawn -= share
        if drawn < 0:
            return kind
    return Kind.PIECE


def _draw(squares: Position, kind: Kind, rng: np.random.Generator) -> Asked:
    if kind in ONE_SQUARE:
        holds = np.unique(squares) if kind is Kind.PIECE else np.unique(squares[squares != EMPTY])
        code = _one_of(holds.tolist(), rng)
        square = _one_of(np.flatnonzero(squares == code).tolist(), rng)
        return about_square(squares, square, kind)
    colour = COLOURS[int(rng.integers(2))]
    if kind is Kind.COUNT:
        return count_question(squares, colour, TYPES[1 + int(rng.integers(len(TYPES) - 1))])
    # Half of the answers are yes where that can be.
    wanted = rng.random() < 0.5
    for _ in range(20):
        asked = rank_question(
            squares,
            COLOURS[int(rng.integers(2))],
            TYPES[int(rng.integers(6))],
            int(rng.integers(1, 9)),
        )
        if (asked.answer == "yes") == wanted:
            break
    return asked


def _one_of(values: Sequence[int], rng: np.random.Generator) -> int:
    return int(values[int(rng.integers(len(values)))])
