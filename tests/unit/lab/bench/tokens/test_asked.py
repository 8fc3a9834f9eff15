"""Questions of a pair's world, and what decides them."""

from __future__ import annotations

import pytest

from driftline_lab.bench.tokens.asked import asked_of, is_counted, square_of
from driftline_lab.data.boards.questions import Asked, Kind
from driftline_lab.data.boards.stream import Event
from driftline_shared.errors import ConfigError


def board(kind: Kind, square: int | None) -> Event:
    asked = Asked(kind=kind, question="what?", answer="white king", square=square)
    return Event(domain="ada", segment=0, image_id=1, asked=asked)


def test_a_pair_is_asked_what_its_world_asks() -> None:
    assert asked_of("boards").roles["atopdown"] == "report"
    found = asked_of("tiny")
    assert found.roles["night"] == "drift"
    (event,) = found.first("night", 1, seed=3)
    assert event.domain == "night"
    assert (square_of(event), is_counted(event)) == (None, True)
    with pytest.raises(ConfigError, match="openmoji"):
        asked_of("smol")


def test_one_square_decides_some_questions_of_boards() -> None:
    piece, count = board(Kind.PIECE, 12), board(Kind.COUNT, None)
    assert (square_of(piece), is_counted(piece)) == (12, True)
    assert (square_of(count), is_counted(count)) == (None, False)
