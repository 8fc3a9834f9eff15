"""LongVU's three reductions against their steps, frame by frame and token by token in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.rows.rows import Kind, TokenRow
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_facts, some_row, tower_tokens

TEXT_BEFORE, TEXT_BEHIND = 2, 5
GRIDS = [
    Grid(frames=4, rows=4, cols=5),
    Grid(frames=19, rows=3, cols=3),
    Grid(frames=9, rows=2, cols=7),
    Grid(frames=1, rows=6, cols=6),
]
Vector = list[float]


def method(grid: Grid, **options: Any) -> TokenCompressor:
    return configured("longvu", options, some_facts(grid)).row()


def values_of(grid: Grid, seed: int, width: int, alike: float) -> Tensor:
    """(V, width): noise round a picture that goes on from frame to frame; `alike`: its weight."""
    draw = torch.Generator().manual_seed(seed)
    cells = grid.rows * grid.cols
    picture = torch.randn(1, cells, width, generator=draw)
    noise = torch.randn(grid.frames, cells, width, generator=draw)
    weight = alike * torch.rand(grid.frames, cells, 1, generator=draw)
    return (weight * picture + noise).flatten(0, 1)


def clip_row(grid: Grid, seed: int, *, alike: float = 2.0, width: int = 6) -> TokenRow:
    """Text, a clip with a separator behind each frame, text."""
    kinds = clip_kinds(grid, TEXT_BEFORE, TEXT_BEHIND, every=grid.rows * grid.cols)
    row = some_row(kinds, grid, width=width, seed=seed + 99)
    return row.replaced(row.visual, values_of(grid, seed, width, alike))


# -- the steps -----------------------------------------------------------------------------------


def cosine(a: Vector, b: Vector) -> float:
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return dot / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


def mean(vectors: list[Vector]) -> Vector:
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def budget_of(grid: Grid, keep: float) -> int:
    return max(1, round(keep * grid.num_tokens))


def low_of(grid: Grid, side: float = 2 / 3) -> tuple[int, int]:
    return max(1, round(grid.rows * side)), max(1, round(grid.cols * side))


def linspace(num: int, chosen: int) -> list[int]:
    return [round(i * (num - 1) / max(1, chosen - 1)) for i in range(chosen)]


def frames_that_stay(frames: list[Vector], window: int, threshold: float) -> list[int]:
    stay = []
    for start in range(0, len(frames), window):
        part = frames[start : start + window]
        for i, frame in enumerate(part):
            score = sum(cosine(frame, other) for other in part) / len(part)
            if i == len(part) // 2:
                score = 0.0
            if score < threshold:
                stay.append(start + i)
    return stay


def low_frame(tokens: list[Vector], grid: Grid, side: float) -> dict[int, Vector]:
    """First cell of each block -> the block's mean."""
    rows, cols = low_of(grid, side)
    members: dict[tuple[int, int], list[int]] = {}
    for cell in range(grid.rows * grid.cols):
        r, c = divmod(cell, grid.cols)
        block = (math.floor(r * rows / grid.rows), math.floor(c * cols / grid.cols))
        members.setdefault(block, []).append(cell)
    assert len(members) == rows * cols
    return {cells[0]: mean([tokens[cell] for cell in cells]) for cells in members.values()}


def reduced(row: TokenRow, keep: float, cut: str, side: float = 2 / 3) -> dict[int, Vector]:
    """Steps 4 and 5: token -> state."""
    grid = row.grid
    cells, budget = grid.rows * grid.cols, budget_of(grid, keep)
    states = row.states.double()
    visual: list[Vector] = states[row.visual].tolist()
    frames = [visual[t * cells : (t + 1) * cells] for t in range(grid.frames)]
    if len(visual) <= budget:
        return dict(enumerate(visual))
    low = [low_frame(frame, grid, side) for frame in frames]
    num_low = len(low[0])
    if num_low * grid.frames <= budget:
        num_high = (budget - num_low * grid.frames) // (cells - num_low)
        text = states[-TEXT_BEHIND:].tolist()
        scores = [
            sum(
                sum(p * q for p, q in zip(token, word, strict=True))
                for token in frame.values()
                for word in text
            )
            / (num_low * len(text))
            for frame in low
        ]
        high = sorted(range(grid.frames), key=lambda t: -scores[t])[:num_high]
        made: dict[int, Vector] = {}
        for t in range(grid.frames):
            chosen = dict(enumerate(frames[t])) if t in high else low[t]
            made |= {t * cells + cell: token for cell, token in sorted(chosen.items())}
        return made
    chunks: list[list[tuple[int, Vector]]] = []
    for start in range(0, grid.frames, 8):
        first = low[start]
        chunks.append([(start * cells + cell, token) for cell, token in sorted(first.items())])
        for t in range(start + 1, min(start + 8, grid.frames)):
            for cell, token in sorted(low[t].items()):
                if cosine(token, first[cell]) < 0.8:
                    chunks[-1].append((t * cells + cell, token))
    num = sum(len(chunk) for chunk in chunks)
    if num > budget and cut == "tail":
        each = math.ceil((num - budget) / len(chunks))
        chunks = [chunk[: max(0, len(chunk) - each)] for chunk in chunks]
    left = [token for chunk in chunks for token in chunk]
    if num > budget and cut == "even":
        left = [left[i] for i in linspace(num, budget)]
    return dict(left[:budget])


def same(made: TokenRow, expected: dict[int, Vector]) -> None:
    assert made.token[made.visual].tolist() == list(expected)
    torch.testing.assert_close(
        made.states[made.visual].double(),
        torch.tensor(list(expected.values()), dtype=torch.float64),
        atol=1e-5,
        rtol=1e-5,
    )


# -- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 3, 16])
@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.7])
@pytest.mark.parametrize("grid", GRIDS)
def test_frames_like_those_round_them_go(grid: Grid, threshold: float, window: int) -> None:
    cells = grid.rows * grid.cols
    counts = set()
    for seed in range(4):
        values = values_of(grid, seed, 5, alike=1.5)
        made = method(grid, keep=0.3, frame_window=window, frame_threshold=threshold).on_vision(
            tower_tokens(values, grid), None
        )
        frames = values.double().reshape(grid.frames, -1).tolist()
        stay = frames_that_stay(frames, window, threshold)
        expected = [t * cells + cell for t in stay for cell in range(cells)]
        assert made.token.tolist() == expected
        assert torch.equal(made.values, values[expected])
        counts.add(len(stay))
    assert min(counts) >= 1


def test_of_a_still_clip_the_middle_of_each_window_stays() -> None:
    grid = Grid(frames=20, rows=3, cols=3)
    values = values_of(replace(grid, frames=1), 0, 5, alike=1.0).repeat(20, 1)
    made = method(grid, keep=0.25).on_vision(tower_tokens(values, grid), None)
    assert made.frame.unique().tolist() == [8, 18]


def test_frames_stay_where_all_fit_at_low_resolution() -> None:
    grid = Grid(frames=6, rows=3, cols=3)
    values = torch.ones(grid.num_tokens, 4)
    tokens = tower_tokens(values, grid)
    # Four of nine tokens a frame at low resolution: 6 frames < floor(N / 4) from N = 28 on.
    assert method(grid, keep=28 / 54).on_vision(tokens, None) is tokens
    assert len(method(grid, keep=27 / 54).on_vision(tokens, None).token) == 9
    assert method(grid, keep=1.0).on_vision(tokens, None) is tokens


def test_no_more_than_the_most_frames_stay() -> None:
    grid = Grid(frames=11, rows=2, cols=2)
    values = torch.randn(grid.num_tokens, 64, generator=torch.Generator().manual_seed(0))
    made = method(grid, keep=0.25, max_frames=4).on_vision(tower_tokens(values, grid), None)
    assert made.frame.unique().tolist() == [int(i * 11 / 4) for i in range(4)]


def test_frames_that_lack_tokens_are_compared_as_if_they_were_zero() -> None:
    grid = Grid(frames=3, rows=2, cols=2)
    values = values_of(grid, 3, 5, alike=1.5)
    some = torch.tensor([0, 1, 3, 4, 5, 9, 11])
    made = method(grid, keep=0.25, frame_threshold=0.5).on_vision(
        tower_tokens(values, grid).take(some), None
    )
    filled = torch.zeros_like(values)
    filled[some] = values[some]
    stay = frames_that_stay(filled.double().reshape(3, -1).tolist(), 16, 0.5)
    assert made.token.tolist() == [i for i in some.tolist() if i // 4 in stay]


# -- resolution and tokens -----------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["even", "tail"])
@pytest.mark.parametrize("keep", [0.05, 0.2, 0.33, 0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_row_is_the_steps_row(grid: Grid, keep: float, cut: str) -> None:
    for seed in range(3):
        row = clip_row(grid, seed)
        made = method(grid, keep=keep, cut=cut).on_embeds(row)
        same(made, reduced(row, keep, cut))
        assert made.origin is not None
        assert torch.equal(made.positions, row.positions[:, made.origin])
        others = made.kind != Kind.VISUAL
        assert torch.equal(made.states[others], row.states[row.kind != Kind.VISUAL])


@pytest.mark.parametrize("side", [0.2, 0.5, 1.0])
def test_any_low_resolution_follows_the_steps(side: float) -> None:
    for keep in (0.1, 0.4, 0.7):
        row = clip_row(GRIDS[0], seed=5)
        made = method(GRIDS[0], keep=keep, low_side=side).on_embeds(row)
        same(made, reduced(row, keep, "even", side))


def test_the_frames_asked_for_stay_whole() -> None:
    grid = Grid(frames=5, rows=3, cols=3)
    row = clip_row(grid, seed=1, alike=0.0)
    states = row.states.clone()
    asked = torch.tensor([3.0, -2.0, 1.0, 0.0, 2.0, 1.0])
    states[-TEXT_BEHIND:] += asked
    states[row.visual[row.frame == 3]] += asked
    # 5 frames of 4 tokens and 5 more for one frame.
    made = method(grid, keep=25 / 45).on_embeds(row.with_states(states))
    assert made.frame.bincount(minlength=5).tolist() == [4, 4, 4, 9, 4]


def test_of_alike_frames_less_than_the_budget_stays() -> None:
    grid = Grid(frames=8, rows=4, cols=4)
    row = clip_row(grid, seed=2)
    states = row.states.clone()
    first = states[row.visual[row.frame == 0]]
    states[row.visual] = first.repeat(8, 1)
    made = method(grid, keep=0.25).on_embeds(row.with_states(states))
    assert made.frame.tolist() == [0] * 9


def test_a_cut_at_the_tail_takes_last_frames_away_and_an_even_one_does_not() -> None:
    grid = Grid(frames=16, rows=3, cols=3)
    row = clip_row(grid, seed=3, alike=0.0)
    tail = method(grid, keep=0.2, cut="tail").on_embeds(row)
    even = method(grid, keep=0.2, cut="even").on_embeds(row)
    assert 7 not in tail.frame and 15 not in tail.frame
    assert even.frame.unique().tolist() == list(range(16))
    assert len(tail.visual) == len(even.visual) == round(0.2 * grid.num_tokens)


@pytest.mark.parametrize("keep", [0.03, 0.15, 0.3, 0.45, 0.6, 0.8, 0.97, 1.0])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_budget_holds_whatever_the_clip_shows(grid: Grid, keep: float) -> None:
    rows, cols = low_of(grid)
    counts = method(grid, keep=keep).schedule(7, grid.num_tokens, grid.frames)
    expected = counts[0].queries - 7 - grid.frames
    assert expected <= budget_of(grid, keep)
    for seed, alike in enumerate((0.0, 1.0, 3.0, 30.0)):
        row = clip_row(grid, seed, alike=alike)
        compressor = method(grid, keep=keep)
        left = compressor.on_vision(tower_tokens(row.states[row.visual], grid), None)
        made = compressor.on_embeds(row.keep_visual(left.token))
        assert 1 <= len(made.visual) <= expected
        if grid.frames < budget_of(grid, keep) // (rows * cols):
            assert len(made.visual) == expected


def test_rows_that_lack_tokens_are_reduced_alike() -> None:
    grid = GRIDS[1]
    for seed in range(5):
        draw = torch.Generator().manual_seed(seed)
        some = torch.randperm(grid.num_tokens, generator=draw)[:120].sort().values
        row = clip_row(grid, seed).keep_visual(some)
        for keep in (0.1, 0.4, 0.5, 0.6):
            made = method(grid, keep=keep).on_embeds(row)
            assert len(made.visual) <= budget_of(grid, keep)
            assert torch.isin(made.token[made.visual], some).all()
            assert bool((made.positions[0].diff() > 0).all())


def test_gradients_reach_every_member_of_what_is_pooled() -> None:
    grid = GRIDS[0]
    row = clip_row(grid, seed=6)
    states = row.states.clone().requires_grad_()
    method(grid, keep=0.6).on_embeds(row.with_states(states)).states.sum().backward()
    assert states.grad is not None
    assert bool((states.grad != 0).all())
