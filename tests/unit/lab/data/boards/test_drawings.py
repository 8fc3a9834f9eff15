"""Drawings: whole sets at their real size, and no set of which two pieces look alike."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_lab.data.boards.drawings import (
    SQUARE,
    check_tiles,
    ground,
    sprites,
    without_units,
)
from driftline_lab.data.boards.sets import EMPTY, SETS
from driftline_shared.errors import DataError


def test_a_set_is_drawn_whole() -> None:
    tiles = sprites("kaneo")  # its files give sizes in millimetres
    assert tiles.shape == (13, SQUARE, SQUARE, 4)
    assert not tiles[EMPTY].any()
    assert all(0.1 < tile[..., 3].mean() < 0.9 for tile in tiles[1:])


def test_a_blank_drawing_is_refused_by_name() -> None:
    tiles = sprites("kaneo").copy()
    tiles[3] = 0
    with pytest.raises(DataError, match="kaneo: its white rook is blank"):
        check_tiles("kaneo", tiles)


def test_two_equal_drawings_are_refused_by_name() -> None:
    tiles = sprites("kaneo").copy()
    tiles[8] = tiles[2]
    with pytest.raises(DataError, match="its black queen looks like its white queen"):
        check_tiles("kaneo", tiles)


def test_only_the_size_of_the_root_loses_its_unit() -> None:
    svg = (
        '<?xml?>\n<svg width="50mm" height="4.5mm" viewBox="0 0 5 5"><p d="1mm" width="2mm"/></svg>'
    )
    plain = '<?xml?>\n<svg width="50" height="4.5" viewBox="0 0 5 5"><p d="1mm" width="2mm"/></svg>'
    assert without_units(svg) == plain


def test_a_board_has_squares_of_two_tones() -> None:
    board = ground("brown").astype(float)
    light, dark = board[4:12, 4:12], board[4:12, 20:28]
    assert light.mean() > dark.mean() + 20
    np.testing.assert_allclose(board[20:28, 20:28].mean(), light.mean(), atol=3)


def test_every_set_names_twelve_files_its_artist_and_licence() -> None:
    for each in SETS.values():
        assert len(set(each.files())) == 12
        assert each.artist
        assert "NC" not in each.licence and each.licence[:2] in ("CC", "GP", "AG")
