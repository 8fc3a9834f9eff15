"""HoliTom against its steps, cell by cell; windows against every way to part the frames."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from driftline_shared.errors import DataError
from driftline_shared.models.compression.compressed_model import facts_of
from driftline_shared.models.compression.methods.holitom import HoliTomCompressor, HoliTomOptions
from driftline_shared.models.compression.rows.rows import Kind, TokenRow, TowerTokens
from driftline_shared.models.compression.tower import look
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_facts, some_row
from tests.unit.shared.models.compression.density_peaks_by_loops import density_peaks_by_loops
from tests.unit.shared.models.compression.test_tower import QUESTION, loaded, picture_for

WIDTH, HEADS = 9, 2
Vector = list[float]

GRIDS = [
    Grid(frames=6, rows=3, cols=5),
    Grid(frames=5, rows=2, cols=3),
    Grid(frames=2, rows=4, cols=4),
    Grid(frames=7, rows=1, cols=1),
    Grid(frames=1, rows=4, cols=4),
]


def clip(grid: Grid, seed: int) -> TokenRow:
    """Cells that stay the same for stretches of frames, some of them all the time."""
    row = some_row(clip_kinds(grid, 3, 4, every=grid.cols), grid, width=WIDTH, seed=seed, start=5)
    draw = torch.Generator().manual_seed(seed + 50)
    states = row.states[row.visual].unflatten(0, (grid.frames, -1)).clone()
    moves = torch.rand(states.shape[1], generator=draw)
    for frame in range(1, grid.frames):
        same = torch.rand(states.shape[1], generator=draw) > moves * 0.8
        near = states[frame - 1] + 0.05 * states[frame]
        states[frame] = torch.where(same[:, None], near, states[frame])
    return row.replaced(row.visual, states.flatten(0, 1))


def method(grid: Grid, seed: int, **options: Any) -> tuple[HoliTomCompressor, Tensor]:
    """A method that has seen the tower, and the (V, H) attention there."""
    draw = torch.Generator().manual_seed(seed + 7)
    num = grid.num_tokens
    seen = torch.rand(num, HEADS, generator=draw)
    made = HoliTomCompressor(HoliTomOptions(**options), some_facts(grid))
    values = torch.zeros(num, 2)
    tower = TowerTokens(
        values=values,
        token=torch.arange(num),
        size=torch.ones(num),
        grid=grid,
        head_attention=seen,
    )
    assert made.on_vision(tower, None) is tower
    return made, seen


def cosine(a: Vector, b: Vector) -> float:
    dot = math.fsum(p * q for p, q in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(p * p for p in a) * math.fsum(q * q for q in b))


def mean(vectors: list[Vector]) -> Vector:
    return [math.fsum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def still_cells(frames: list[list[Vector]], start: int, end: int, limit: float) -> list[int]:
    return [
        m
        for m in range(len(frames[0]))
        if end > start
        and all(cosine(frames[t][m], frames[t + 1][m]) > limit for t in range(start, end))
    ]


def best_windows(frames: list[list[Vector]], limit: float) -> tuple[int, set[Any]]:
    """The most tokens that any way to part the frames saves, and every way that saves them."""
    num = len(frames)
    saved: dict[Any, int] = {}
    for number in range(num):
        for ends in itertools.combinations(range(1, num), number):
            bounds = [0, *ends, num]
            windows = tuple((a, b - 1) for a, b in itertools.pairwise(bounds))
            saved[windows] = sum(
                (e - s) * len(still_cells(frames, s, e, limit)) for s, e in windows
            )
    most = max(saved.values())
    return most, {windows for windows, count in saved.items() if count == most}


def steps(
    frames: list[list[Vector]], seen: list[float], windows: Any, ratio: float, o: HoliTomOptions
) -> dict[int, Vector]:
    """What stands at each flat index that is left."""
    cells = len(frames[0])
    left: dict[int, Vector] = {}
    for start, end in windows:
        fixed = still_cells(frames, start, end, o.still)
        moving = [m for m in range(cells) if m not in fixed]
        for t in range(start, end + 1):
            num = math.ceil(len(moving) * ratio - 1e-9)
            ranked = sorted(moving, key=lambda m, t=t: (-seen[t * cells + m], m))
            left |= {t * cells + m: frames[t][m] for m in ranked[:num]}
        means = [mean([frames[t][m] for t in range(start, end + 1)]) for m in fixed]
        num = round(len(fixed) * ratio)
        if not num:
            continue
        centres, member = density_peaks_by_loops(means, num, min(o.neighbours, num))
        for cluster, centre in enumerate(centres):
            others = [means[i] for i in range(len(fixed)) if member[i] == cluster and i != centre]
            token = means[centre]
            if others:
                middle = mean(others)
                token = [
                    o.centre * p + (1 - o.centre) * q for p, q in zip(token, middle, strict=True)
                ]
            left[start * cells + fixed[centre]] = token
    return left


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"keep": 0.3},
        {"keep": 0.55, "still": 0.95, "centre": 0.0},
        {"keep": 0.8, "neighbours": 2, "still": 0.5},
    ],
)
def test_it_leaves_what_the_steps_leave(grid: Grid, options: dict[str, Any]) -> None:
    for seed in range(4):
        row = clip(grid, seed)
        made, attention = method(grid, seed, **options)
        o = HoliTomOptions(**options)
        flat = row.states[row.visual].double()
        frames = flat.unflatten(0, (grid.frames, -1)).tolist()
        most, ways = best_windows(frames, o.still)
        ratio = min(1.0, o.keep * len(flat) / (len(flat) - most))
        seen = attention.mean(dim=1).double().tolist()
        got = made.on_embeds(row)
        order = got.token[got.visual].tolist()
        # More than one way to part the frames may save as much; one of them it is.
        wanted = [steps(frames, seen, windows, ratio, o) for windows in sorted(ways)]
        mine = [each for each in wanted if sorted(each) == order]
        assert mine, (order, [sorted(each) for each in wanted])
        states = got.states[got.visual]
        assert any(
            torch.allclose(states, torch.tensor([each[i] for i in order]), atol=1e-4)
            for each in mine
        )
        others = (row.kind != Kind.VISUAL).nonzero()[:, 0]
        assert got.origin is not None and bool(torch.isin(others, got.origin).all())


def test_a_clip_that_stands_still_is_one_window() -> None:
    grid = Grid(frames=5, rows=2, cols=4)
    row = clip(grid, 0)
    first = row.states[row.visual][:8]
    made, _ = method(grid, 0, keep=0.1)
    got = made.on_embeds(row.replaced(row.visual, first.repeat(5, 1)))
    # 8 tokens are left of 40, 4 of them are a tenth of all; all stand in the first frame.
    assert len(got.visual) == 4
    assert int(got.token[got.visual].max()) < 8


def test_of_equal_sums_the_shorter_last_window_stands() -> None:
    """Frames 0 and 1, or 1 and 2, are alike in another cell each: one pair has to part."""
    grid = Grid(frames=3, rows=1, cols=2)
    axes = torch.eye(WIDTH)
    row = clip(grid, 0)
    # Cell 0 stays from frame 0 to 1, cell 1 from 1 to 2.
    states = axes[[0, 1, 0, 2, 3, 2]]
    made, attention = method(grid, 0, keep=1e-9 + 5 / 6)
    got = made.on_embeds(row.replaced(row.visual, states))
    assert got.token[got.visual].tolist() == [0, 1, 3, 4, 5]
    assert attention.shape == (6, HEADS)


def test_one_token_stays_where_rounding_leaves_none() -> None:
    grid = Grid(frames=4, rows=1, cols=2)
    row = clip(grid, 0)
    made, attention = method(grid, 0, keep=0.01)
    got = made.on_embeds(row.replaced(row.visual, torch.eye(WIDTH)[[0, 1] * 4]))
    assert got.token[got.visual].tolist() == [int(attention.mean(dim=1).argmax())]


def test_within_the_layers_others_are_averaged_into_the_likest_one_by_one() -> None:
    grid = Grid(frames=1, rows=3, cols=5)
    for seed, merged in enumerate((0.2, 0.5, 0.71, 0.95)):
        row = some_row(clip_kinds(grid, 2, 3), grid, width=WIDTH, seed=seed)
        made, _ = method(grid, seed, keep=0.5, merged=merged, layer=3)
        asked = made.rows_before(3, row)
        assert asked is not None and asked.tolist() == [len(row) - 1]
        assert made.rows_before(2, row) is None
        attention = torch.rand(1, len(row), generator=torch.Generator().manual_seed(seed))
        got = made.on_layer(3, row, attention)
        visual = row.visual.tolist()
        num = max(1, round(15 * (1 - merged)))
        ranked = sorted(visual, key=lambda place: -float(attention[0, place]))
        kept, others = sorted(ranked[:num]), sorted(ranked[num:])
        before = {place: row.states[place].double().tolist() for place in visual}
        now = dict(before)
        for place in others:
            into = max(kept, key=lambda k, place=place: cosine(before[place], before[k]))
            now[into] = [(p + q) / 2 for p, q in zip(now[into], before[place], strict=True)]
        assert got.origin is not None and got.origin[got.visual].tolist() == kept
        wanted = torch.tensor([now[place] for place in kept])
        torch.testing.assert_close(got.states[got.visual], wanted, atol=1e-5, rtol=1e-5)


def test_the_published_layer_and_counts() -> None:
    assert HoliTomOptions().merge_layer(28) == 18
    grid = Grid(frames=32, rows=14, cols=14)
    made = HoliTomCompressor(HoliTomOptions(), some_facts(grid, num_layers=28))
    counts = [each.queries for each in made.schedule(0, 6272)]
    assert counts == [32 * 20] * 18 + [16 * 20] * 10


def test_without_the_tower_or_a_whole_clip_it_says_so() -> None:
    grid = GRIDS[1]
    row = clip(grid, 0)
    blind = HoliTomCompressor(HoliTomOptions(), some_facts(grid))
    with pytest.raises(DataError, match="tower"):
        blind.on_embeds(row)
    made, _ = method(grid, 0)
    with pytest.raises(DataError, match="whole clips"):
        made.on_embeds(row.keep_visual(torch.arange(7)))


def test_a_real_tower_says_what_it_looks_at(tmp_path: Path) -> None:
    model = loaded("llava_onevision_video", tmp_path)
    image = picture_for(model)
    made = HoliTomCompressor(HoliTomOptions(keep=0.5), facts_of(model))
    seen = look(model, made, image, QUESTION).tokens
    assert torch.equal(seen.values, model.encode([image])[0])
