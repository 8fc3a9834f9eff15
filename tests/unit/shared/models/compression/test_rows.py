"""Rows and tower tokens against lists of places."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.errors import PairError
from driftline_shared.models.compression.rows.rows import NONE, Kind, TokenRow
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_row, tower_tokens

GRID = Grid(frames=2, rows=2, cols=3)
KINDS = clip_kinds(GRID, 2, 3, every=6)


def _row() -> TokenRow:
    row = some_row(KINDS, GRID, width=4)
    return replace(row, positions=2 * row.positions)


def _places(row: TokenRow) -> list[tuple[int, int, int, int]]:
    assert row.origin is not None
    parts = (row.kind, row.token, row.positions[0], row.origin)
    return list(zip(*(part.tolist() for part in parts), strict=True))


def test_places_by_what_they_are() -> None:
    row = _row()
    assert row.visual.tolist() == [*range(2, 8), *range(9, 15)]
    assert row.text.tolist() == [0, 1, 16, 17, 18]
    assert row.question.tolist() == [16, 17, 18]
    assert row.frame.tolist() == [0] * 6 + [1] * 6
    assert row.cell.tolist() == [*range(6), *range(6)]
    words = row.take(torch.tensor([0, 1, 16]))
    assert words.question.tolist() == [0, 1, 2], "all text is question where there is no image"


@given(chosen=st.sets(st.integers(0, 11)))
def test_keeping_visual_tokens_keeps_all_else(chosen: set[int]) -> None:
    row = _row()
    kept = row.keep_visual(torch.tensor(sorted(chosen), dtype=torch.long))
    whole = _places(row)
    wanted = [place for place in whole if place[0] != Kind.VISUAL or place[1] in chosen]
    assert _places(kept) == wanted
    rows = [number for number, place in enumerate(whole) if place in wanted]
    assert torch.equal(kept.states, row.states[rows])


def test_any_order_of_choice_keeps_the_order_of_places() -> None:
    kept = _row().keep_visual(torch.tensor([7, 0, 3]))
    assert kept.token[kept.visual].tolist() == [0, 3, 7]


@given(at=st.integers(0, len(KINDS)), num=st.integers(1, 3))
def test_inserting_moves_what_stands_behind(at: int, num: int) -> None:
    row = _row()
    new = torch.full((num, 4), 9.0)
    made = row.inserted(at, new)
    before = _places(row)
    last = before[at - 1][2] if at else before[0][2] - 1
    middle = [(int(Kind.EXTRA), NONE, last + step, NONE) for step in range(1, num + 1)]
    behind = [(kind, token, place + num, origin) for kind, token, place, origin in before[at:]]
    assert _places(made) == before[:at] + middle + behind
    assert bool((made.positions[0].diff() > 0).all())
    assert torch.equal(made.states[at : at + num], new)


def test_merged_states_take_their_places() -> None:
    row = _row()
    made = row.replaced(torch.tensor([3, 5]), torch.ones(2, 4, dtype=torch.float64))
    assert _places(made) == _places(row)
    assert torch.equal(made.states[[3, 5]], torch.ones(2, 4)), "in the row's own type"
    assert torch.equal(made.states[:3], row.states[:3])


def test_numbering_anew_leaves_no_gaps() -> None:
    made = _row().take(torch.tensor([1, 4, 9, 18])).renumbered()
    assert made.positions[0].tolist() == [2, 3, 4, 5]
    assert made.origin is not None and made.origin.tolist() == [1, 4, 9, 18]


def test_tower_tokens_take_all_their_parts_along() -> None:
    values = torch.randn(12, 3)
    read = {"attention": torch.arange(12.0) * 2, "keys": values * 3, "layers": values * 4}
    tokens = tower_tokens(values, GRID, **read)
    some = torch.tensor([1, 6, 11])
    taken = tokens.take(some)
    assert taken.frame.tolist() == [0, 1, 1]
    assert taken.attention is not None and taken.attention.tolist() == [2.0, 12.0, 22.0]
    assert taken.keys is not None and torch.equal(taken.keys, values[some] * 3)
    assert taken.layers is not None and torch.equal(taken.layers, values[some] * 4)
    merged = tokens.take(some, torch.zeros(3, 3))
    assert torch.equal(merged.values, torch.zeros(3, 3)) and merged.token.tolist() == [1, 6, 11]


def _with_axes_and_deep() -> TokenRow:
    """A picture of 2 x 3 tokens behind two words, counted as M-RoPE does; two layers add to it."""
    row = some_row([0, 0] + [1] * 6 + [0], Grid(rows=2, cols=3), width=4)
    lies = torch.tensor(
        [
            [0, 1, 2, 2, 2, 2, 2, 2, 5],
            [0, 1, 2, 2, 2, 3, 3, 3, 5],
            [0, 1, 2, 3, 4, 2, 3, 4, 5],
        ]
    )
    deep = torch.arange(2 * 9 * 4, dtype=torch.float32).reshape(2, 9, 4)
    return replace(row, positions=lies, deep=deep)


def test_what_layers_add_goes_with_its_places() -> None:
    row = _with_axes_and_deep()
    assert row.deep is not None
    left = row.keep_visual(torch.tensor([1, 4]))
    assert left.deep is not None
    assert torch.equal(left.deep, row.deep[:, [0, 1, 3, 6, 8]])
    assert left.positions.tolist() == row.positions[:, [0, 1, 3, 6, 8]].tolist()
    once = left.behind_layer(left.states)
    assert torch.equal(once.states, left.states + row.deep[0, [0, 1, 3, 6, 8]])
    assert once.deep is not None and torch.equal(once.deep, left.deep[1:])
    twice = once.behind_layer(once.states)
    assert twice.deep is None and twice.behind_layer(left.states).states is left.states


def test_what_layers_add_is_merged_as_the_states_are() -> None:
    row = _with_axes_and_deep()
    assert row.deep is not None
    members = row.visual[torch.tensor([0, 2])]
    made = row.merged(members[:1], lambda states: states[members].mean(0, keepdim=True))
    assert made.deep is not None
    assert torch.equal(made.states[2], row.states[[2, 4]].mean(0))
    assert torch.equal(made.deep[:, 2], row.deep[:, [2, 4]].mean(1))
    with pytest.raises(PairError, match="DeepStack"):
        row.replaced(members[:1], torch.ones(1, 4))
    others = [0, 1, *range(3, 9)]
    assert torch.equal(made.deep[:, others], row.deep[:, others])


def test_text_behind_a_picture_goes_past_it_on_every_axis() -> None:
    made = _with_axes_and_deep().inserted(8, torch.ones(2, 4))
    assert made.positions[:, 8:].tolist() == [[5, 6, 7]] * 3
    assert made.deep is not None and not made.deep[:, 8:10].any()
    assert torch.equal(made.renumbered().positions, made.positions)
