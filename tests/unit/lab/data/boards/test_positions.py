"""Positions keep the rules they are made by."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driftline_lab.data.boards.positions import MOST, SQUARES, position, rank_squares
from driftline_lab.data.boards.sets import COLOURS, PIECES, TYPES, piece_code


@given(st.integers(0, 2**32 - 1))
def test_a_position_keeps_the_rules(seed: int) -> None:
    squares = position(np.random.default_rng(seed))
    found = Counter(PIECES[code] for code in squares)
    for colour in COLOURS:
        assert found[f"{colour} king"] == 1
        assert all(found[f"{colour} {kind}"] <= MOST[kind] for kind in TYPES)
        for rank in (1, 8):
            assert piece_code(colour, "pawn") not in squares[rank_squares(rank)]
    kings = [SQUARES[int(np.flatnonzero(squares == piece_code(c, "king"))[0])] for c in COLOURS]
    apart = [abs(ord(a) - ord(b)) for a, b in zip(*kings, strict=True)]
    assert max(apart) > 1


def test_squares_are_named_as_white_sees_them() -> None:
    assert SQUARES[0] == "a8"
    assert SQUARES[63] == "h1"
    assert SQUARES[8 * 4 + 4] == "e4"
    assert SQUARES[rank_squares(7)] == tuple(f"{file}7" for file in "abcdefgh")


def test_counts_are_drawn_evenly() -> None:
    rng = np.random.default_rng(0)
    found = Counter(int((position(rng) == piece_code("white", "pawn")).sum()) for _ in range(700))
    assert set(found) == set(range(7))
    assert min(found.values()) > 60
