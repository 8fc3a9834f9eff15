"""Questions: true answers, one square mostly, and nothing to be won by a guess."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from driftline_lab.data.boards.positions import SQUARES, Position, position
from driftline_lab.data.boards.questions import (
    KIND_SHARES,
    ONE_SQUARE,
    Asked,
    Kind,
    all_questions,
    questions,
)
from driftline_lab.data.boards.sets import PIECES


@pytest.fixture(scope="module")
def asked() -> list[tuple[Position, Asked]]:
    rng = np.random.default_rng(0)
    boards = [position(rng) for _ in range(150)]
    return [(squares, one) for squares in boards for one in questions(squares, 12, rng)]


def truth(squares: Position, question: str) -> str:
    """The answer, read from a plain board of words."""
    board = dict(zip(SQUARES, (PIECES[code] for code in squares), strict=True))
    if match := re.fullmatch(r"what stands on (..)\?", question):
        return board[match[1]]
    if match := re.fullmatch(r"what colour is the piece on (..)\?", question):
        return board[match[1]].split()[0]
    if match := re.fullmatch(r"how many (.+)s\?", question):
        return str(list(board.values()).count(match[1]))
    match = re.fullmatch(r"is there a (.+) on rank (\d)\?", question)
    assert match is not None
    on_rank = [piece for square, piece in board.items() if square.endswith(match[2])]
    return "yes" if match[1] in on_rank else "no"


def test_answers_are_true(asked: list[tuple[Position, Asked]]) -> None:
    for squares, one in asked:
        assert one.answer == truth(squares, one.question)


def test_the_deciding_square_is_the_one_that_is_named(
    asked: list[tuple[Position, Asked]],
) -> None:
    for _, one in asked:
        assert (one.square is not None) == (one.kind in ONE_SQUARE)
        assert one.square is None or f" {SQUARES[one.square]}?" in one.question


def test_nearly_nine_in_ten_are_decided_by_one_square(
    asked: list[tuple[Position, Asked]],
) -> None:
    assert 0.85 <= sum(KIND_SHARES[kind] for kind in ONE_SQUARE) <= 0.90
    share = sum(one.kind in ONE_SQUARE for _, one in asked) / len(asked)
    assert 0.85 < share < 0.91


def test_no_answer_of_a_kind_is_the_likely_one(asked: list[tuple[Position, Asked]]) -> None:
    for kind, most in (
        (Kind.PIECE, 0.16),
        (Kind.COLOUR, 0.58),
        (Kind.COUNT, 0.5),
        (Kind.RANK, 0.62),
    ):
        answers = Counter(one.answer for _, one in asked if one.kind is kind)
        assert max(answers.values()) / answers.total() < most, kind


def test_every_question_is_among_all(asked: list[tuple[Position, Asked]]) -> None:
    known = set(all_questions())
    assert len(known) == len(all_questions())
    assert {one.question for _, one in asked} <= known
