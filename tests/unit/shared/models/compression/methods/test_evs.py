"""EVS against its steps, cell by cell in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.rows.rows import Kind, TokenRow
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_facts, some_row

GRIDS = [
    Grid(frames=4, rows=3, cols=5),
    Grid(frames=7, rows=2, cols=3),
    Grid(frames=2, rows=5, cols=5),
    Grid(frames=9, rows=1, cols=1),
]


def method(grid: Grid, keep: float) -> TokenCompressor:
    return configured("evs", {"keep": keep}, some_facts(grid)).row()


def clip(grid: Grid, seed: int) -> TokenRow:
    return some_row(clip_kinds(grid, 3, 4, every=grid.cols), grid, width=9, seed=seed, start=5)


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return dot / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


def reference(tokens: Tensor, frames: int, keep: float) -> list[int]:
    """Flat indices that stay, of `tokens` (T M, D) of whole frames."""
    cells = len(tokens) // frames
    values = tokens.double().tolist()
    changes = []
    for flat, token in enumerate(values):
        # 255 is what vLLM gives the first frame: above any 1 - cos.
        changes.append(255.0 if flat < cells else 1 - cosine(token, values[flat - cells]))
    count = max(cells, math.floor(keep * len(values) + 1e-9))
    best = sorted(range(len(values)), key=lambda flat: (-changes[flat], flat))
    return sorted(best[:count])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("keep", [0.05, 0.25, 0.47, 0.8, 0.99])
def test_it_keeps_what_the_steps_keep(grid: Grid, keep: float) -> None:
    for seed in range(5):
        row = clip(grid, seed)
        made = method(grid, keep).on_embeds(row)
        kept = reference(row.states[row.visual], grid.frames, keep)
        assert made.token[made.visual].tolist() == kept
        planned = method(grid, keep).schedule(7, grid.num_tokens)
        assert {layer.queries - 7 for layer in planned} == {len(kept)}


def test_of_equal_changes_the_earlier_stay() -> None:
    """Unit vectors have cosines of exactly 0 and 1."""
    grid = Grid(frames=3, rows=2, cols=2)
    axes = torch.eye(9)
    row = clip(grid, 0)
    moved = [0, 1, 2, 3, 0, 5, 2, 7, 4, 5, 6, 7]  # cells 1 and 3, then cells 0 and 2
    made = method(grid, 6 / 12).on_embeds(row.replaced(row.visual, axes[moved]))
    assert made.token[made.visual].tolist() == [0, 1, 2, 3, 5, 7]
    still = row.replaced(row.visual, axes[[0, 1, 2, 3] * 3])
    made = method(grid, 7 / 12).on_embeds(still)
    assert made.token[made.visual].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_a_share_is_not_lost_to_rounding() -> None:
    """1 - 0.9 of 100 are 10 tokens; in floating point, cut, they would be 9."""
    grid = Grid(frames=10, rows=1, cols=10)
    row = clip(grid, 1)
    assert len(method(grid, 0.1).on_embeds(row).visual) == 10
    assert len(method(grid, 0.29).on_embeds(row).visual) == 29


def test_a_cell_with_nothing_before_it_stays() -> None:
    grid = Grid(frames=3, rows=1, cols=4)
    axes = torch.eye(9)
    row = clip(grid, 0)
    row = row.replaced(row.visual, axes[[0, 1, 2, 3] * 3])
    # Of frame 1 cell 2 is missing: that of frame 2 has nothing to be like.
    partial = row.keep_visual(torch.tensor([0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]))
    made = method(grid, 5 / 11).on_embeds(partial)
    assert made.token[made.visual].tolist() == [0, 1, 2, 3, 10]


def test_a_picture_stays_whole() -> None:
    grid = Grid(rows=4, cols=4)
    row = some_row(clip_kinds(grid, 2, 2), grid)
    assert len(method(grid, 0.25).on_embeds(row).visual) == 16


def test_all_but_dropped_tokens_is_as_it_was() -> None:
    row = clip(GRIDS[0], seed=0)
    made = method(GRIDS[0], 0.3).on_embeds(row)
    assert made.origin is not None
    assert torch.equal(made.states, row.states[made.origin])
    assert torch.equal(made.positions, row.positions[:, made.origin])
    stays = (row.kind != Kind.VISUAL).nonzero()[:, 0]
    assert torch.isin(stays, made.origin).all()
    assert len(made) < len(row)
