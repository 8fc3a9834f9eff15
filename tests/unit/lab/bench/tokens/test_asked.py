"""What decides a world's questions, and what its domains may be used for."""

from __future__ import annotations

from driftline_lab.bench.tokens.asked import is_counted, roles_of, square_of
from driftline_lab.data.boards.questions import Asked, Kind
from driftline_lab.data.boards.stream import Event
from driftline_lab.data.streams import Segment
from driftline_lab.data.worlds import BOARDS, EASYVQA


def board(kind: Kind, square: int | None) -> Event:
    asked = Asked(kind=kind, question="what?", answer="white king", square=square)
    return Event(domain="ada", segment=0, image_id=1, asked=asked)


def test_only_domains_of_boards_have_roles_that_were_fixed() -> None:
    assert roles_of(BOARDS)["atopdown"] == "report"
    assert set(roles_of(EASYVQA).values()) == {"drift"}


def test_a_world_without_squares_counts_every_question() -> None:
    (event,) = EASYVQA.stream([Segment(domain="night", num_questions=1)], seed=3)
    assert (square_of(event), is_counted(event)) == (None, True)


def test_one_square_decides_some_questions_of_boards() -> None:
    piece, count = board(Kind.PIECE, 12), board(Kind.COUNT, None)
    assert (square_of(piece), is_counted(piece)) == (12, True)
    assert (square_of(count), is_counted(count)) == (None, False)
