"""VidCom2 against its steps, token by token in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.rows.rows import Kind, TokenRow
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_facts, some_row

TEXT_BEFORE, TEXT_BEHIND = 3, 4


def method(grid: Grid, **options: Any) -> TokenCompressor:
    return configured("vidcom2", options, some_facts(grid)).row()


def clip(grid: Grid, seed: int, width: int = 13) -> TokenRow:
    """Text, frames that differ more or less with a separator behind each grid row, text."""
    kinds = clip_kinds(grid, TEXT_BEFORE, TEXT_BEHIND, every=grid.cols)
    row = some_row(kinds, grid, width=width, seed=seed, start=5)
    draw = torch.Generator().manual_seed(seed + 99)
    common = 2 * torch.randn(width, generator=draw)
    own = torch.randn(grid.frames, width, generator=draw)
    own *= torch.rand(grid.frames, 1, generator=draw)
    return row.replaced(row.visual, row.states[row.visual] + common + own[row.frame])


def kernel(a: list[float], b: list[float], similarity: str) -> float:
    if similarity == "cosine":
        dot = sum(p * q for p, q in zip(a, b, strict=True))
        return dot / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))
    squared = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    return sum(math.exp(-squared / (2 * scale)) for scale in (0.125, 0.25, 0.5, 1.0, 2.0))


def mean(vectors: list[list[float]]) -> list[float]:
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def shares(frames: list[Tensor], keep: float, similarity: str) -> tuple[list[float], list[Any]]:
    """Steps 1-4: wanted tokens of each frame, and the scores of its tokens."""
    tokens = [token for frame in frames for token in frame.double().tolist()]
    width = len(tokens[0])
    variances = []
    for channel in range(width):
        values = [token[channel] for token in tokens]
        centre = sum(values) / len(values)
        variances.append(sum((value - centre) ** 2 for value in values) / len(values))
    quiet = sorted(range(width), key=lambda channel: variances[channel])[: width // 2]
    normed: list[list[list[float]]] = []
    for frame in frames:
        normed.append([])
        for token in frame.double().tolist():
            picked = [token[channel] for channel in quiet]
            length = math.sqrt(sum(value * value for value in picked))
            normed[-1].append([value / length for value in picked])
    whole = mean([token for frame_tokens in normed for token in frame_tokens])
    scores, unlike = [], []
    for frame_tokens in normed:
        own = mean(frame_tokens)
        to_clip = [kernel(token, whole, similarity) for token in frame_tokens]
        to_frame = [kernel(token, own, similarity) for token in frame_tokens]
        scores.append([p + q for p, q in zip(to_clip, to_frame, strict=True)])
        unlike.append(-sum(to_clip) / len(to_clip))
    raised = [math.exp((u - max(unlike)) / 0.01) for u in unlike]
    pi = [value / sum(raised) for value in raised]
    wanted = []
    for frame_tokens, weight in zip(normed, pi, strict=True):
        share = min(1.0, keep * (1 + weight - sum(pi) / len(pi)))
        wanted.append(round(share * len(frame_tokens), 4))
    return wanted, scores


def reference(frames: list[Tensor], keep: float, similarity: str) -> list[int]:
    """Step 5: flat indices that stay."""
    wanted, scores = shares(frames, keep, similarity)
    chosen, start = [], 0
    for count, values in zip(wanted, scores, strict=True):
        num = max(1, round(count))
        best = sorted(range(len(values)), key=lambda m: values[m])[:num]
        chosen += [start + m for m in sorted(best)]
        start += len(values)
    return chosen


def frames_of(row: TokenRow) -> list[Tensor]:
    visual = row.states[row.visual]
    return [visual[row.frame == frame] for frame in row.frame.unique()]


GRIDS = [
    Grid(frames=4, rows=3, cols=5),
    Grid(frames=7, rows=2, cols=3),
    Grid(frames=2, rows=5, cols=5),
    Grid(frames=1, rows=4, cols=4),
]


@pytest.mark.parametrize("similarity", ["gaussian", "cosine"])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("keep", [0.1, 0.25, 0.5, 0.8])
def test_it_keeps_what_the_steps_keep(grid: Grid, keep: float, similarity: str) -> None:
    for seed in range(4):
        row = clip(grid, seed)
        made = method(grid, keep=keep, similarity=similarity).on_embeds(row)
        assert made.token[made.visual].tolist() == reference(frames_of(row), keep, similarity)


def test_frames_unlike_the_clip_keep_more() -> None:
    grid = Grid(frames=6, rows=4, cols=4)
    row = clip(grid, seed=1)
    draw = torch.Generator().manual_seed(9)
    common = torch.rand(row.states.shape[1], generator=draw) + 1
    states = common + 0.1 * torch.randn(row.states.shape, generator=draw)
    states[row.visual[row.frame == 5]] *= -1
    made = method(grid, keep=0.25).on_embeds(row.with_states(states))
    # All of the weight goes to it: 16 * 0.25 * (2 - 1/6) and 16 * 0.25 * (1 - 1/6).
    assert made.frame.bincount(minlength=6).tolist() == [3, 3, 3, 3, 3, 7]


def test_all_but_dropped_tokens_is_as_it_was() -> None:
    row = clip(GRIDS[0], seed=0)
    made = method(GRIDS[0], keep=0.3).on_embeds(row)
    assert made.origin is not None
    assert torch.equal(made.states, row.states[made.origin])
    assert torch.equal(made.positions, row.positions[:, made.origin])
    stays = (row.kind != Kind.VISUAL).nonzero()[:, 0]
    assert torch.isin(stays, made.origin).all()
    assert len(made) < len(row)


@pytest.mark.parametrize("keep", [0.02, 0.2, 0.4, 0.55, 0.9])
@pytest.mark.parametrize("grid", GRIDS)
def test_exact_totals_are_repaired_frame_by_frame(grid: Grid, keep: float) -> None:
    target = max(grid.frames, round(keep * grid.num_tokens))
    for seed in range(6):
        row = clip(grid, seed)
        frames = frames_of(row)
        wanted, _ = shares(frames, keep, "gaussian")
        counts = [max(1, round(count)) for count in wanted]
        while sum(counts) != target:
            excess = [count - want for count, want in zip(counts, wanted, strict=True)]
            if sum(counts) > target:
                able = [t for t in range(len(counts)) if counts[t] > 1]
                counts[min(able, key=lambda t: (-excess[t], t))] -= 1
            else:
                able = [t for t in range(len(counts)) if counts[t] < len(frames[t])]
                counts[min(able, key=lambda t: (excess[t], t))] += 1
        made = method(grid, keep=keep, exact=True).on_embeds(row)
        assert made.frame.bincount(minlength=grid.frames).tolist() == counts
        planned = method(grid, keep=keep, exact=True).schedule(7, grid.num_tokens)
        assert planned[0].queries - 7 == len(made.visual)


@pytest.mark.parametrize("keep", [0.05, 0.25, 0.5, 0.75, 0.95])
@pytest.mark.parametrize("grid", GRIDS)
def test_totals_are_within_the_stated_bounds(grid: Grid, keep: float) -> None:
    cells, frames = grid.rows * grid.cols, grid.frames
    compressor = method(grid, keep=keep)
    nominal = compressor.schedule(7, grid.num_tokens, 0)[0].queries - 7
    assert nominal == max(grid.frames, round(keep * grid.num_tokens))
    for seed in range(10):
        off = len(compressor.on_embeds(clip(grid, seed)).visual) - keep * grid.num_tokens
        assert off <= frames
        assert off >= -frames - max(0.0, 2 * keep - 1) * cells


def test_of_a_picture_the_tokens_least_like_its_mean_stay() -> None:
    grid = Grid(rows=4, cols=5)
    row = clip(grid, seed=3, width=8)
    made = method(grid, keep=0.4, channels=1.0, similarity="cosine").on_embeds(row)
    z = torch.nn.functional.normalize(row.states[row.visual].double(), dim=-1)
    assert set(made.token[made.visual].tolist()) == set((z @ z.mean(0)).argsort()[:8].tolist())


def test_frames_may_lack_tokens() -> None:
    grid = Grid(frames=4, rows=3, cols=3)
    row = clip(grid, seed=4)
    some = torch.tensor([0, 1, 2, 5, 9, 20, 21, 22, 24, 25, 26])  # of frames 0, 1 and 2
    partial = row.keep_visual(some)
    made = method(grid, keep=0.5).on_embeds(partial)
    kept = reference(frames_of(partial), 0.5, "gaussian")
    assert made.token[made.visual].tolist() == some[kept].tolist()


def test_gradients_reach_what_is_kept_and_only_that() -> None:
    row = clip(GRIDS[0], seed=5)
    states = row.states.clone().requires_grad_()
    made = method(GRIDS[0], keep=0.25).on_embeds(row.with_states(states))
    made.states.sum().backward()
    assert states.grad is not None and made.origin is not None
    reached = states.grad.abs().sum(dim=1).nonzero()[:, 0]
    assert torch.equal(reached, made.origin)


@pytest.mark.parametrize("similarity", ["gaussian", "cosine"])
def test_rounding_does_not_choose_among_equal_tokens(similarity: str) -> None:
    """Frames of one colour, whose tokens differ by the last bits of a sum alone."""
    grid = Grid(frames=2, rows=3, cols=3)
    row = clip(grid, seed=0)
    one = torch.randn(row.states.shape[1], generator=torch.Generator().manual_seed(3))
    kept = set()
    for seed in range(6):
        noise = 2e-7 * torch.randn(
            (len(row.visual), len(one)), generator=torch.Generator().manual_seed(seed)
        )
        still = row.replaced(row.visual, one + noise)
        left = method(grid, keep=0.4, similarity=similarity).on_embeds(still)
        kept.add(tuple(left.token[left.visual].tolist()))
    assert len(kept) == 1, kept
