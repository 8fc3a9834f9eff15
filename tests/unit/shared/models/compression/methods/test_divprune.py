"""DivPrune against its steps, pair by pair in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.methods import divprune
from driftline_shared.models.compression.rows.rows import Kind, TokenRow
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_facts, some_row

GRIDS = [Grid(rows=4, cols=5), Grid(rows=3, cols=3), Grid(frames=3, rows=2, cols=4)]


def method(grid: Grid, keep: float) -> TokenCompressor:
    return configured("divprune", {"keep": keep}, some_facts(grid)).row()


def image(grid: Grid, seed: int) -> TokenRow:
    return some_row(clip_kinds(grid, 3, 4, every=grid.cols), grid, width=9, seed=seed, start=5)


def distance(a: list[float], b: list[float]) -> float:
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return 1 - dot / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


def reference(tokens: Tensor, num: int) -> list[int]:
    """Indices of `tokens` (V, D) in the order in which they are chosen."""
    values = tokens.double().tolist()
    every = range(len(values))
    apart = [[distance(values[i], values[j]) for j in every] for i in every]
    chosen: list[int] = []
    for _ in range(num):
        scores = []
        for i in every:
            against = chosen or [j for j in every if j != i]
            scores.append(min(apart[i][j] for j in against))
        free = [i for i in every if i not in chosen]
        chosen.append(max(free, key=lambda i: (scores[i], -i)))
    return chosen


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("keep", [0.06, 0.25, 0.5, 0.77, 0.95])
def test_it_keeps_what_the_steps_keep(grid: Grid, keep: float) -> None:
    for seed in range(5):
        row = image(grid, seed)
        made = method(grid, keep).on_embeds(row)
        num = max(1, round(keep * grid.num_tokens))
        assert made.token[made.visual].tolist() == sorted(reference(row.states[row.visual], num))
        planned = method(grid, keep).schedule(7, grid.num_tokens)
        assert {layer.queries - 7 for layer in planned} == {num}


def test_the_first_token_is_found_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divprune, "_ROWS_AT_ONCE", 7)
    for seed in range(8):
        row = image(GRIDS[0], seed)
        made = method(GRIDS[0], 1 / 20).on_embeds(row)
        assert made.token[made.visual].tolist() == reference(row.states[row.visual], 1)


def test_of_equal_distances_the_earlier_wins() -> None:
    """Unit vectors: all distances are exactly 0 or 1."""
    grid = Grid(rows=2, cols=4)
    row = image(grid, 0)
    same = row.replaced(row.visual, torch.eye(9)[[0, 0, 1, 1, 2, 2, 3, 4]])
    # Those like no other first, then one of each pair, then the copies.
    for num, kept in ((1, [6]), (2, [0, 6]), (5, [0, 2, 4, 6, 7]), (7, [0, 1, 2, 3, 4, 6, 7])):
        made = method(grid, num / 8).on_embeds(same)
        assert made.token[made.visual].tolist() == kept
        assert sorted(reference(same.states[same.visual], num)) == kept


def test_nothing_is_chosen_twice_where_all_tokens_are_one() -> None:
    grid = Grid(rows=2, cols=4)
    row = image(grid, 0)
    made = method(grid, 0.5).on_embeds(row.replaced(row.visual, torch.ones(8, 9)))
    assert len(made.visual) == 4


def test_all_but_dropped_tokens_is_as_it_was() -> None:
    row = image(GRIDS[2], seed=0)
    made = method(GRIDS[2], 0.3).on_embeds(row)
    assert made.origin is not None
    assert torch.equal(made.states, row.states[made.origin])
    assert torch.equal(made.positions, row.positions[:, made.origin])
    stays = (row.kind != Kind.VISUAL).nonzero()[:, 0]
    assert torch.isin(stays, made.origin).all()
    assert len(made) < len(row)
