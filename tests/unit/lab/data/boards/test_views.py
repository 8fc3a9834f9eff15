"""Views: the same for their number, each piece on its square, no number in two uses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from driftline_lab.data.boards.domains import DOMAINS, TAUGHT, Role, domains_of, taught_sets
from driftline_lab.data.boards.drawings import PICTURE_SIZE, SQUARE
from driftline_lab.data.boards.positions import SQUARES
from driftline_lab.data.boards.sets import PLAIN_BOARDS, SETS, WOODEN_BOARDS, piece_code
from driftline_lab.data.boards.views import (
    VIEWS_PER_USE,
    Use,
    asked_of,
    compose,
    view,
    view_of,
)
from driftline_shared.errors import DataError


def test_a_view_repeats_and_another_differs() -> None:
    first = view("tomato", 5)
    assert first.picture.shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
    assert first.picture.dtype == np.uint8
    np.testing.assert_array_equal(first.picture, view("tomato", 5).picture)
    assert (first.squares != view("tomato", 6).squares).any()


def test_a_piece_is_drawn_on_its_square_and_nowhere_else() -> None:
    squares = np.zeros(64, dtype=np.int64)
    empty = compose(squares, "kaneo", "brown", np.random.default_rng(0)).astype(int)
    place = SQUARES.index("e4")
    squares[place] = piece_code("white", "rook")
    shown = compose(squares, "kaneo", "brown", np.random.default_rng(0)).astype(int)
    changed = np.abs(shown - empty).reshape(8, SQUARE, 8, SQUARE, 3).sum(axis=(1, 3, 4))
    assert np.flatnonzero(changed).tolist() == [place]
    assert divmod(place, 8) == (4, 4)


def test_questions_of_a_view_are_about_what_it_shows() -> None:
    shown = view("tomato", 9)
    asked = asked_of("tomato", 9, 20)
    assert asked[:3] == asked_of("tomato", 9, 3)
    for one in asked:
        if one.square is not None and one.answer == "nothing":
            assert shown.squares[one.square] == 0


def test_uses_share_no_view() -> None:
    ends = [(view_of(use, 0), view_of(use, VIEWS_PER_USE - 1)) for use in Use]
    for (_, last), (first, _) in pairwise(ends):
        assert last < first
    with pytest.raises(DataError, match="999,999"):
        view_of(Use.TEST, VIEWS_PER_USE)


def test_no_set_is_in_two_domains_and_the_limit_is_taught_to_nobody() -> None:
    names = [name for each in DOMAINS.values() for name in each.sets]
    assert sorted(names) == sorted(SETS)
    boards = {board for each in DOMAINS.values() for board in each.boards}
    assert boards == {*PLAIN_BOARDS, *WOODEN_BOARDS}
    (limit,) = domains_of(Role.LIMIT)
    assert limit not in TAUGHT
    assert not set(DOMAINS[limit].sets) & set(taught_sets())
    elsewhere = {board for name in TAUGHT for board in DOMAINS[name].boards}
    assert not elsewhere & set(DOMAINS[limit].boards)
