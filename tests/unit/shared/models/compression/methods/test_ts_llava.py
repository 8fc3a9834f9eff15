"""TS-LLaVA against its steps: the picture pixel by pixel, the row token by token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from driftline_shared.errors import DataError
from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.methods.ts_llava import spread, thumbnail, tiling
from driftline_shared.models.compression.rows.rows import NONE, Kind, TokenRow
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_facts, some_row

GRID = Grid(frames=5, rows=3, cols=4)
TEXT_BEFORE, TEXT_BEHIND = 2, 3


def method(grid: Grid = GRID, **options: Any) -> TokenCompressor:
    return configured("ts_llava", options, some_facts(grid)).row()


def clip_row(grid: Grid = GRID, width: int = 6) -> TokenRow:
    """Text, a clip, one separator behind it, text; each state is its place's number."""
    row = some_row(clip_kinds(grid, TEXT_BEFORE, TEXT_BEHIND), grid)
    return row.with_states(torch.arange(len(row)).float()[:, None].repeat(1, width))


def with_thumbnail(row: TokenRow, num: int) -> TokenRow:
    """As the driver gives it: `EXTRA` places before the first visual one; states -1, -2, ..."""
    states = -torch.arange(1, num + 1).float()[:, None].repeat(1, row.states.shape[1])
    made = row.inserted(TEXT_BEFORE, states)
    return replace(made, origin=torch.arange(len(made)))


def linspace(num: int, chosen: int) -> list[int]:
    """torch.round(torch.linspace(0, num - 1, chosen)), which the public code takes of frames and of
    tokens.
    """
    return torch.linspace(0, num - 1, steps=chosen).round().long().tolist()


def test_of_many_tokens_a_few_are_the_neighbours_of_the_exact_ones() -> None:
    """50 frames of 576 tokens, 2,880 sampled: float32 turns places that end in .499 to .5."""
    exact = [i * 28_799 / 2_879 for i in range(2_880)]
    found = spread(28_800, 2_880).tolist()
    off = [place - i for i, place in zip(found, exact, strict=True) if i != round(place)]
    assert len(off) <= 2 and all(abs(abs(each) - 0.5) < 0.002 for each in off)
    assert found == sorted(set(found)) and (found[0], found[-1]) == (0, 28_799)
    assert spread(5, 1).tolist() == [0] and spread(0, 0).tolist() == []


# -- the picture ---------------------------------------------------------------------------------


def test_the_grid_is_the_most_square_one_with_no_more_columns_than_rows() -> None:
    assert [tiling(num) for num in (1, 2, 4, 5, 6, 8, 9, 12)] == [
        (1, 1),
        (2, 1),
        (2, 2),
        (5, 1),
        (3, 2),
        (4, 2),
        (3, 3),
        (4, 3),
    ]


@pytest.mark.parametrize(("frames", "num"), [(10, 6), (7, 4), (8, 8), (32, 6)])
def test_cells_are_frames_averaged_over_areas(frames: int, num: int) -> None:
    clip = np.random.default_rng(0).integers(0, 256, (frames, 24, 24, 3), dtype=np.uint8)
    rows, cols = tiling(num)
    made = thumbnail(clip, num)
    assert made.shape == (24, 24, 3) and made.dtype == np.uint8
    tall, wide = 24 // rows, 24 // cols
    for cell, frame in enumerate(linspace(frames, num)):
        for row in range(tall):
            for col in range(wide):
                area = clip[frame, row * rows : (row + 1) * rows, col * cols : (col + 1) * cols]
                mean = area.astype(np.float64).mean(axis=(0, 1))
                top, left = cell // cols * tall, cell % cols * wide
                # Pillow rounds after each of its two passes.
                assert np.abs(made[top + row, left + col] - mean).max() <= 1.01


def test_a_short_clip_gives_the_frames_it_has() -> None:
    levels = np.array([10, 90, 170], dtype=np.uint8)
    clip = np.broadcast_to(levels[:, None, None, None], (3, 20, 31, 3)).copy()
    made = thumbnail(clip, 6)
    assert made.shape == (20, 31, 3)
    assert made[:6].max() == 10 and made[6:13].min() == made[6:13].max() == 90
    assert made[13:].min() == 170
    assert np.array_equal(thumbnail(clip[:1], 6), clip[0])


def test_frames_smaller_than_the_grid_are_refused() -> None:
    with pytest.raises(DataError, match="thumbnail_frames"):
        thumbnail(np.zeros((8, 2, 9, 3), dtype=np.uint8), 6)


def test_the_tower_reads_all_frames_and_one_picture_more() -> None:
    clip = np.zeros((5, 12, 12, 3), dtype=np.uint8)
    frames = method(keep=0.5).on_frames(clip)
    assert frames.kept is None
    assert frames.extra is not None and frames.extra.shape == (1, 12, 12, 3)
    whole = method(keep=1.0).on_frames(clip)
    assert whole.kept is None and whole.extra is None


# -- the row -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["sampled_first", "thumbnail_first"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("keep", [0.02, 0.1, 0.3, 0.5, 0.77, 0.99])
def test_the_row_is_the_steps_row(keep: float, share: float, order: str) -> None:
    num_small, num_visual = 12, GRID.num_tokens
    plain = clip_row()
    made = method(keep=keep, thumbnail_share=share, order=order).on_embeds(
        with_thumbnail(plain, num_small)
    )
    budget = max(1, round(keep * num_visual))
    of_small = min(num_small, int(share * budget))
    small = [-1 - i for i in (linspace(num_small, of_small) if of_small else [])]
    sampled = [TEXT_BEFORE + i for i in linspace(num_visual, budget - of_small)]
    image = sampled + small if order == "sampled_first" else small + sampled
    before, behind = list(range(TEXT_BEFORE)), list(range(TEXT_BEFORE + num_visual, len(plain)))
    assert made.states[:, 0].tolist() == [*before, *image, *behind]
    assert len(made.visual) + int((made.kind == Kind.EXTRA).sum()) == budget

    # Sampled tokens keep their positions, or lie behind the thumbnail as if it had been inserted.
    positions = dict(zip(made.states[:, 0].tolist(), made.positions[0].tolist(), strict=True))
    moved = len(small) if order == "thumbnail_first" else 0
    first = sampled[0] if order == "thumbnail_first" else sampled[-1] + 1
    before_small = TEXT_BEFORE if order == "thumbnail_first" else first
    assert [positions[i] for i in before] == before
    assert [positions[i] for i in sampled] == [i + moved for i in sampled]
    assert [positions[i] for i in small] == [before_small + i for i in range(len(small))]
    assert [positions[i] for i in behind] == [i + len(small) for i in behind]
    assert bool((made.positions[0].diff() > 0).all())


def test_places_of_the_whole_row_stay_known() -> None:
    made = method(keep=0.3).on_embeds(row := with_thumbnail(clip_row(), 12))
    assert made.origin is not None
    known = made.origin != NONE
    assert torch.equal(made.states[known], row.states[made.origin[known]])
    assert torch.equal(made.kind == Kind.EXTRA, ~known)


def test_without_a_thumbnail_frames_take_the_whole_budget() -> None:
    made = method(keep=0.25).on_embeds(clip_row())
    assert made.token[made.visual].tolist() == linspace(GRID.num_tokens, 15)


def test_the_papers_share_gives_the_papers_counts() -> None:
    grid = Grid(frames=50, rows=24, cols=24)
    row = with_thumbnail(clip_row(grid, width=1), 576)
    made = method(grid, keep=0.12).on_embeds(row)
    assert len(made.visual) == 2880
    assert int((made.kind == Kind.EXTRA).sum()) == 576


def test_gradients_reach_the_thumbnail_and_the_sampled_tokens() -> None:
    row = with_thumbnail(clip_row(), 4)
    states = row.states.clone().requires_grad_()
    made = method(keep=0.2).on_embeds(row.with_states(states))
    made.states.sum().backward()
    assert states.grad is not None
    assert int((states.grad != 0).any(dim=1).sum()) == len(made)
