"""LLaVA-PruMerge against its steps, written out token by token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from driftline_shared.models.compression.compressed_model import facts_of
from driftline_shared.models.compression.compressor import kept_count
from driftline_shared.models.compression.methods.prumerge import PrumergeCompressor, PrumergeOptions
from driftline_shared.models.compression.rows.rows import TowerTokens
from driftline_shared.models.compression.tower import look
from driftline_shared.tokens import Grid
from tests.fakes.compression import some_facts, tower_tokens
from tests.unit.shared.models.compression.test_tower import (
    QUESTION,
    class_token_llava,
    loaded,
    picture_for,
)


def drawn(seed: int, grid: Grid) -> TowerTokens:
    """Attention as a class token's: most of it on few tokens."""
    random = torch.Generator().manual_seed(seed)
    num = grid.num_tokens
    attention = (2.5 * torch.randn(num, generator=random)).softmax(0) * 0.9
    values, keys = (torch.randn(num, width, generator=random) for width in (5, 6))
    return tower_tokens(values, grid, attention=attention, keys=keys)


def chosen_by_steps(a: list[float], options: PrumergeOptions, budget: int) -> list[int]:
    num = len(a)
    ranked = sorted(range(num), key=lambda i: -a[i])
    if options.adaptive:
        q1, q3 = np.percentile(a, 25), np.percentile(a, 75)
        outliers = [i for i in range(num) if a[i] > q3 + options.outliers * (q3 - q1)]
        kept = set(ranked[: max(1, len(outliers))])
        if options.plus:
            stride = max(1, int(int(num / max(1, len(outliers))) / 3))
            kept |= set(range(0, num - 1, stride))  # torch.arange(0, 575, stride) of 576
        return sorted(kept)
    if budget == 1:
        return [ranked[0]]
    first = (budget - 1) - (budget - 1) // 2 if options.plus else budget - 1
    kept = set(ranked[:first])
    others = [i for i in range(num) if i not in kept]
    more = budget - 1 - first
    for part in range(more):
        begin, end = part * len(others) / more, (part + 1) * len(others) / more
        kept.add(others[int((begin + end) / 2 + 1e-9)])
    return sorted(kept)


def pruned_by_steps(
    tokens: TowerTokens, options: PrumergeOptions, budget: int
) -> dict[int, tuple[Tensor, int]]:
    """Token and size at each index that is left of one frame."""
    assert tokens.attention is not None and tokens.keys is not None
    a = tokens.attention.double().tolist()
    x, k = tokens.values.double(), tokens.keys.double()
    num = len(a)
    kept = chosen_by_steps(a, options, budget)
    # 32 of 576 is one of 18.
    merged = min(32, max(1, round(num / 18)))
    merged = merged if options.neighbours is None else options.neighbours
    left: dict[int, tuple[Tensor, int]] = {}
    for i in kept:
        alike = [
            (float(k[i] @ k[j] / (k[i].norm() * k[j].norm())), j) for j in range(num) if j != i
        ]
        near = [j for _, j in sorted(alike, reverse=True)[:merged]]
        added = torch.zeros(x.shape[1], dtype=torch.float64)
        for j in near:
            added += a[j] * x[j]
        if options.update == "code":
            left[i] = (x[i] + added, 1)
        else:
            left[i] = ((a[i] * x[i] + added) / (a[i] + sum(a[j] for j in near)), 1)
    pruned = [i for i in range(num) if i not in kept]
    if pruned and (options.adaptive or len(kept) < budget):
        rest = torch.zeros(x.shape[1], dtype=torch.float64)
        for j in pruned:
            rest += a[j] * x[j]
        if options.update == "paper":
            rest /= sum(a[j] for j in pruned)
        left[pruned[0]] = (rest, len(pruned))
    return left


def assert_same(seen: TowerTokens, wanted: dict[int, tuple[Tensor, int]]) -> None:
    assert seen.token.tolist() == sorted(wanted)
    assert seen.size.tolist() == [wanted[i][1] for i in sorted(wanted)]
    values = torch.stack([wanted[i][0] for i in sorted(wanted)])
    torch.testing.assert_close(seen.values.double(), values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("update", ["paper", "code"])
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("adaptive", [False, True])
def test_it_prunes_and_merges_as_the_steps_say(update: Any, plus: bool, adaptive: bool) -> None:
    for seed, grid in enumerate((Grid(rows=7, cols=9), Grid(rows=4, cols=4), Grid(rows=5, cols=5))):
        for keep in (0.02, 0.15, 0.5, 0.9):
            for neighbours in (None, 0, 5, 32):
                options = PrumergeOptions(
                    keep=keep, plus=plus, adaptive=adaptive, update=update, neighbours=neighbours
                )
                method = PrumergeCompressor(options, some_facts(grid))
                tokens = drawn(seed, grid)
                seen = method.on_vision(tokens, None)
                budget = kept_count(keep, grid.num_tokens)
                assert_same(seen, pruned_by_steps(tokens, options, budget))
                if not adaptive:
                    assert len(seen.token) == budget
                    assert method.schedule(3, grid.num_tokens)[0].queries == 3 + budget


def test_the_default_is_the_public_code() -> None:
    """Its loop over the tokens that stay, on a tower's 24 x 24: unweighted sums, 32 neighbours."""
    grid = Grid(rows=24, cols=24)
    tokens = drawn(5, grid)
    assert tokens.attention is not None and tokens.keys is not None
    x, a, keys = tokens.values, tokens.attention, normalize(tokens.keys, dim=-1)
    seen = PrumergeCompressor(PrumergeOptions(), some_facts(grid)).on_vision(tokens, None)
    top = a.topk(31).indices.sort().values
    pruned = [i for i in range(576) if i not in top.tolist()]
    wanted = {pruned[0]: (a[pruned, None] * x[pruned]).sum(dim=0)}
    for i in top.tolist():
        rest = [j for j in range(576) if j != i]
        near = (keys[i] @ keys[rest].T).topk(32).indices
        of = torch.tensor(rest)[near]
        wanted[i] = x[i] + (a[of, None] * x[of]).sum(dim=0)
    assert seen.token.tolist() == sorted(wanted)
    torch.testing.assert_close(seen.values, torch.stack([wanted[i] for i in sorted(wanted)]))


def test_the_last_place_is_not_sampled() -> None:
    """`torch.arange(0, 575, int(int(1 / ratio) / 3))`, as many outliers as quartiles allow."""
    grid = Grid(rows=24, cols=24)
    options = PrumergeOptions(adaptive=True, plus=True, neighbours=0)
    for outliers in range(1, 144):
        random = torch.Generator().manual_seed(outliers)
        attention = 0.001 + 1e-6 * torch.rand(576, generator=random)
        top = torch.randperm(575, generator=random)[:outliers]
        attention[top] = 0.1
        tokens = replace(drawn(0, grid), attention=attention)
        seen = PrumergeCompressor(options, some_facts(grid)).on_vision(tokens, None)
        ratio = outliers / 576
        sampled = torch.arange(0, 575, int(int(1 / ratio) / 3)).tolist()
        kept = {*top.tolist(), *sampled}
        rest = min(i for i in range(576) if i not in kept)
        assert seen.token.tolist() == sorted(kept | {rest})


def test_attention_without_outliers_leaves_one_and_the_rest() -> None:
    """The public code divides by nothing here."""
    grid = Grid(rows=3, cols=3)
    tokens = drawn(0, grid)
    even = replace(tokens, attention=torch.arange(9).float() / 100 + 0.05)
    options = PrumergeOptions(adaptive=True)
    seen = PrumergeCompressor(options, some_facts(grid)).on_vision(even, None)
    assert seen.token.tolist() == [0, 8]
    assert seen.size.tolist() == [8, 1]


def test_each_frame_has_its_own_quartiles_and_share() -> None:
    grid = Grid(frames=3, rows=3, cols=5)
    tokens = drawn(3, grid)
    for options in (PrumergeOptions(adaptive=True), PrumergeOptions(keep=0.3)):
        seen = PrumergeCompressor(options, some_facts(grid)).on_vision(tokens, None)
        wanted: dict[int, tuple[Tensor, int]] = {}
        for frame in range(3):
            part = tokens.take(torch.arange(frame * 15, frame * 15 + 15))
            # round(0.3 * 15) is 4, 9 - 4 and 14 - 9 of all.
            budget = (4, 5, 5)[frame]
            own = pruned_by_steps(part, options, budget)
            wanted |= {frame * 15 + i: token for i, token in own.items()}
        assert_same(seen, wanted)


def test_gradients_reach_the_tokens() -> None:
    grid = Grid(rows=4, cols=4)
    tokens = drawn(1, grid)
    tokens.values.requires_grad_(True)
    method = PrumergeCompressor(PrumergeOptions(keep=0.25), some_facts(grid))
    method.on_vision(tokens, None).values.sum().backward()
    assert tokens.values.grad is not None and bool((tokens.values.grad != 0).any(dim=1).all())


def test_real_towers_with_and_without_a_class_token(tmp_path: Path) -> None:
    with_class = class_token_llava(tmp_path)
    for model in (with_class, loaded("llava_onevision", tmp_path)):
        image = picture_for(model)
        method = PrumergeCompressor(PrumergeOptions(keep=0.25), facts_of(model))
        seen = look(model, method, image, QUESTION).tokens
        assert len(seen.token) == kept_count(0.25, model.num_tokens)
        assert float(seen.size.sum()) == model.num_tokens
        all_kept = PrumergeCompressor(PrumergeOptions(keep=1.0, adaptive=True), facts_of(model))
        same = look(model, all_kept, image, QUESTION).tokens
        assert torch.equal(same.values, model.encode([image])[0])
    clips = loaded("llava_onevision_video", tmp_path)
    clip = picture_for(clips)
    half = PrumergeCompressor(PrumergeOptions(keep=0.5), facts_of(clips))
    seen = look(clips, half, clip, QUESTION).tokens
    assert len(seen.token) == kept_count(0.5, clips.num_tokens)
    places = clips.encode([clip])[0][seen.token][:, -2:]
    torch.testing.assert_close(seen.values[:, -2:], places)
