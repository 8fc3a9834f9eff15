"""VisionZip against its steps, written out token by token."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from driftline_shared.models.compression.compressed_model import facts_of
from driftline_shared.models.compression.compressor import kept_count
from driftline_shared.models.compression.methods.visionzip import (
    VisionZipCompressor,
    VisionZipOptions,
)
from driftline_shared.models.compression.rows.rows import TowerTokens
from driftline_shared.models.compression.tower import look
from driftline_shared.tokens import Grid
from tests.fakes.compression import some_facts, tower_tokens
from tests.unit.shared.models.compression.test_tower import (
    QUESTION,
    class_token_llava,
    eager,
    loaded,
    picture_for,
)

HEADS = 3
Steps = dict[int, tuple[list[float], int]]


def drawn(seed: int, grid: Grid) -> TowerTokens:
    """Attention as a class token's: most of it on few tokens."""
    random = torch.Generator().manual_seed(seed)
    num = grid.num_tokens
    attention = (2.5 * torch.randn(num, HEADS, generator=random)).softmax(0) * 0.9
    values, keys = (torch.randn(num, width, generator=random) for width in (5, 4 * HEADS))
    return tower_tokens(values, grid, head_attention=attention, head_keys=keys)


def method(grid: Grid, options: VisionZipOptions) -> VisionZipCompressor:
    return VisionZipCompressor(options, some_facts(grid, tower_heads=HEADS))


def steps(x: Tensor, by_head: Tensor, keys: Tensor, num_dominant: int, num_merged: int) -> Steps:
    """Token and size at each index that is left of one frame; `keys` (n, H, d_h)."""
    attention = [sum(row) for row in by_head.double().tolist()]
    metric = []
    for token in keys.double().tolist():
        mean = [sum(column) / len(token) for column in zip(*token, strict=True)]
        length = math.sqrt(sum(value * value for value in mean))
        metric.append([value / length for value in mean])
    values = x.double().tolist()
    ranked = sorted(range(len(values)), key=lambda i: (-attention[i], i))
    left: Steps = {i: (values[i], 1) for i in ranked[:num_dominant]}
    others = sorted(ranked[num_dominant:])
    if not num_merged:
        return left
    step = max(1, len(others) // num_merged)
    targets = others[::step][:num_merged]
    taken: dict[int, list[int]] = {target: [] for target in targets}
    for j in others:
        if j not in targets:
            alike = [sum(p * q for p, q in zip(metric[j], metric[t], strict=True)) for t in targets]
            taken[targets[alike.index(max(alike))]].append(j)
    for target, members in taken.items():
        token = list(values[target])
        for channel in range(len(token)):
            if members:
                token[channel] += sum(values[j][channel] for j in members) / len(members)
        left[target] = (token, 1 + len(members))
    return left


def assert_same(seen: TowerTokens, wanted: Steps) -> None:
    order = sorted(wanted)
    assert seen.token.tolist() == order
    values = torch.tensor([wanted[i][0] for i in order])
    torch.testing.assert_close(seen.values, values, atol=1e-5, rtol=1e-5)
    assert seen.size.tolist() == [wanted[i][1] for i in order]


def by_heads(tokens: TowerTokens) -> tuple[Tensor, Tensor]:
    assert tokens.head_attention is not None and tokens.head_keys is not None
    return tokens.head_attention, tokens.head_keys.unflatten(-1, (HEADS, -1))


@pytest.mark.parametrize("grid", [Grid(rows=4, cols=5), Grid(rows=3, cols=3), Grid(rows=7, cols=9)])
@pytest.mark.parametrize("contextual", [0.0, 10 / 64, 0.5, 0.9])
def test_it_leaves_what_the_steps_leave(grid: Grid, contextual: float) -> None:
    for seed, keep in enumerate((0.05, 0.2, 0.5, 0.71, 0.95)):
        tokens = drawn(seed, grid)
        options = VisionZipOptions(keep=keep, contextual=contextual)
        seen = method(grid, options).on_vision(tokens, None)
        budget = kept_count(keep, grid.num_tokens)
        merged = round(contextual * budget)
        assert_same(seen, steps(tokens.values, *by_heads(tokens), budget - merged, merged))
        assert method(grid, options).schedule(3, grid.num_tokens)[0].queries == 3 + budget


@pytest.mark.parametrize(("budget", "merged"), [(64, 10), (128, 20), (192, 30)])
def test_published_budgets_have_the_published_parts(budget: int, merged: int) -> None:
    grid = Grid(rows=24, cols=24)
    tokens = drawn(budget, grid)
    seen = method(grid, VisionZipOptions(keep=budget / 576)).on_vision(tokens, None)
    assert_same(seen, steps(tokens.values, *by_heads(tokens), budget - merged, merged))


def test_of_equal_tokens_the_earlier_count() -> None:
    """Of equal attention the first are dominant; of equal keys all go to the first target."""
    grid = Grid(rows=3, cols=4)
    even, keys = torch.full((12, HEADS), 0.25), torch.ones(12, 4 * HEADS)
    values = drawn(0, grid).values
    tokens = tower_tokens(values, grid, head_attention=even, head_keys=keys)
    seen = method(grid, VisionZipOptions(keep=0.5, contextual=1 / 3)).on_vision(tokens, None)
    # Of 8 others every fourth is a target: places 4 and 8.
    assert seen.token.tolist() == [0, 1, 2, 3, 4, 8]
    assert seen.size.tolist() == [1, 1, 1, 1, 7, 1]
    assert torch.equal(seen.values[[0, 1, 2, 3, 5]], values[[0, 1, 2, 3, 8]])
    merged = values[4] + values[[5, 6, 7, 9, 10, 11]].mean(dim=0)
    torch.testing.assert_close(seen.values[4], merged)


def test_each_frame_has_its_own_share() -> None:
    grid = Grid(frames=3, rows=3, cols=5)
    tokens = drawn(3, grid)
    options = VisionZipOptions(keep=0.3, contextual=0.25)
    wanted: Steps = {}
    # round(0.3 * 15) is 4, 9 - 4 and 14 - 9 of all.
    for frame, budget in enumerate((4, 5, 5)):
        part = tokens.take(torch.arange(frame * 15, frame * 15 + 15))
        own = steps(part.values, *by_heads(part), budget - 1, 1)
        wanted |= {frame * 15 + i: token for i, token in own.items()}
    assert_same(method(grid, options).on_vision(tokens, None), wanted)


def test_gradients_reach_the_tokens() -> None:
    grid = Grid(rows=4, cols=4)
    tokens = drawn(1, grid)
    tokens.values.requires_grad_(True)
    options = VisionZipOptions(keep=0.25, contextual=0.5)
    method(grid, options).on_vision(tokens, None).values.sum().backward()
    assert tokens.values.grad is not None and bool((tokens.values.grad != 0).any(dim=1).all())


def test_a_tower_with_a_class_token_is_read_where_its_tokens_come_from(tmp_path: Path) -> None:
    """Attention and keys are those of the layer before the last, whose output the tokens are."""
    model = class_token_llava(tmp_path)
    image = picture_for(model)
    pixels = model.views([image])
    read = eager(model, pixels)
    own = model.net.model.vision_tower.encoder.layers[-2]
    keys = own.self_attn.k_proj(own.layer_norm1(read.hidden_states[-3]))[0, 1:]
    num = own.self_attn.num_heads
    budget, merged = kept_count(0.5, model.num_tokens), round(0.25 * 0.5 * model.num_tokens)
    wanted = steps(
        read.hidden_states[-2][0, 1:],
        read.attentions[-2][0, :, 0, 1:].T,
        keys.detach().unflatten(-1, (num, -1)),
        budget - merged,
        merged,
    )
    made = VisionZipCompressor(VisionZipOptions(keep=0.5, contextual=0.25), facts_of(model))
    assert_same(look(model, made, image, QUESTION).tokens, wanted)


def test_towers_without_a_class_token_and_clips(tmp_path: Path) -> None:
    for name in ("llava_onevision", "llava_onevision_video"):
        model = loaded(name, tmp_path)
        image = picture_for(model)
        half = VisionZipCompressor(VisionZipOptions(keep=0.5), facts_of(model))
        seen = look(model, half, image, QUESTION).tokens
        assert len(seen.token) == kept_count(0.5, model.num_tokens)
        whole = VisionZipCompressor(VisionZipOptions(keep=1.0), facts_of(model))
        same = look(model, whole, image, QUESTION).tokens
        assert torch.equal(same.values, model.encode([image])[0])
