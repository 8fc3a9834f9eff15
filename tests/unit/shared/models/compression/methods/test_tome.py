"""ToMe against its steps, written out token by token, and through a whole tower."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressed_model import facts_of
from driftline_shared.models.compression.compressor import kept_count
from driftline_shared.models.compression.methods.tome import TomeCompressor, TomeOptions, matching
from driftline_shared.models.compression.rows.rows import TowerTokens
from driftline_shared.models.compression.tower import look
from driftline_shared.tokens import Grid
from tests.fakes.compression import tower_tokens
from tests.unit.shared.models.compression.test_tower import (
    QUESTION,
    class_token_llava,
    loaded,
    picture_for,
)


class Token:
    """A token as the reference has it: float64 state, members by index; none: protected."""

    def __init__(self, state: Tensor, members: list[int], size: int) -> None:
        self.state, self.members, self.size = state, members, size


def merge_by_steps(tokens: list[Token], keys: list[Tensor], num: int) -> list[Token]:
    """Steps 1 to 5: merge `num` tokens of even places into odd ones."""
    units = [key / key.norm() for key in keys]
    ranked = []
    for a in range(0, len(tokens), 2):
        if not tokens[a].members:
            continue
        scores = {
            b: float(units[a] @ units[b]) for b in range(1, len(tokens), 2) if tokens[b].members
        }
        if scores:
            best = max(scores, key=lambda b: scores[b])
            ranked.append((scores[best], a, best))
    ranked.sort(reverse=True)
    sums = {place: token.state * token.size for place, token in enumerate(tokens)}
    gone = set()
    for _, a, b in ranked[: max(num, 0)]:
        sums[b] = sums[b] + sums[a]
        tokens[b].size += tokens[a].size
        tokens[b].members += tokens[a].members
        gone.add(a)
    order = [place for place in range(0, len(tokens), 2) if place not in gone]
    order += list(range(1, len(tokens), 2))
    return [
        Token(sums[place] / tokens[place].size, tokens[place].members, tokens[place].size)
        for place in order
    ]


def attend_by_steps(attention: Any, tokens: list[Token], normed: Tensor) -> Tensor:
    """Softmax over q k / sqrt(d) + log size, head by head."""
    heads = attention.num_heads
    q, k, v = (
        part(normed).unflatten(-1, (heads, -1))
        for part in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    out = torch.zeros_like(q)
    for head in range(heads):
        for i in range(len(tokens)):
            logits = torch.stack(
                [
                    q[i, head] @ k[j, head] / math.sqrt(q.shape[-1]) + math.log(tokens[j].size)
                    for j in range(len(tokens))
                ]
            )
            out[i, head] = logits.softmax(0) @ v[:, head]
    return attention.out_proj(out.flatten(1))


def tower_by_steps(model: Any, image: Any, keep: float, num_blocks: int) -> list[Token]:
    """What is left of a picture of one view, sorted."""
    tower = model.net.model.vision_tower.double()
    pixels = model.views([image]).double()
    states = tower.embeddings(pixels)
    if hasattr(tower, "pre_layrnorm"):
        states = tower.pre_layrnorm(states)
    num_class = states.shape[1] - model.num_tokens
    tokens = [
        Token(state, [place - num_class] if place >= num_class else [], 1)
        for place, state in enumerate(states[0])
    ]
    goal = kept_count(keep, model.num_tokens)
    over = model.num_tokens - goal
    for number in range(num_blocks):
        block = tower.encoder.layers[number]
        normed = block.layer_norm1(torch.stack([token.state for token in tokens]))
        attended = attend_by_steps(block.self_attn, tokens, normed)
        keys = block.self_attn.k_proj(normed).unflatten(-1, (block.self_attn.num_heads, -1)).mean(1)
        for token, change in zip(tokens, attended, strict=True):
            token.state = token.state + change
        # Constant r: by the end of block l, the share (l + 1) / L of all is merged.
        by_now = round(over * (number + 1) / num_blocks)
        merged = model.num_tokens - sum(1 for token in tokens if token.members)
        tokens = merge_by_steps(tokens, list(keys), by_now - merged)
        for token in tokens:
            token.state = token.state + block.mlp(block.layer_norm2(token.state))
    # Sorted for the projector, before which the rest is merged.
    tokens = sorted((t for t in tokens if t.members), key=lambda token: min(token.members))
    while len(tokens) > goal:
        tokens = merge_by_steps(tokens, [token.state for token in tokens], len(tokens) - goal)
    tower.float()
    return sorted(tokens, key=lambda token: min(token.members))


def assert_same(seen: TowerTokens, wanted: list[Token]) -> None:
    assert seen.token.tolist() == [min(token.members) for token in wanted]
    assert seen.size.tolist() == [token.size for token in wanted]
    torch.testing.assert_close(
        seen.values.double(), torch.stack([token.state for token in wanted]), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.3, 0.1])
def test_a_tower_with_a_class_token_merges_as_the_steps_say(tmp_path: Path, keep: float) -> None:
    model = class_token_llava(tmp_path)
    for seed in range(2):
        image = picture_for(model, seed)
        method = TomeCompressor(TomeOptions(keep=keep), facts_of(model))
        seen = look(model, method, image, QUESTION)
        with torch.no_grad():
            wanted = tower_by_steps(model, image, keep, num_blocks=2)
        assert_same(seen.tokens, wanted)
        left = kept_count(keep, model.num_tokens)
        assert len(seen.tokens.token) == left
        counts = method.schedule(7, model.num_tokens, 1)
        assert {(each.queries, each.cached) for each in counts} == {(8 + left, 8 + left)}


@pytest.mark.parametrize("keep", [0.6, 0.25])
def test_a_tower_without_one_does_too(tmp_path: Path, keep: float) -> None:
    model = loaded("llava", tmp_path)
    image = picture_for(model)
    method = TomeCompressor(TomeOptions(keep=keep, where="tower"), facts_of(model))
    seen = look(model, method, image, QUESTION)
    with torch.no_grad():
        assert_same(seen.tokens, tower_by_steps(model, image, keep, num_blocks=2))


@pytest.mark.parametrize("seed", range(4))
def test_before_the_projector_tokens_are_merged_in_rounds(seed: int, tmp_path: Path) -> None:
    model = loaded("llava", tmp_path)
    drawn = torch.Generator().manual_seed(seed)
    rows, cols = 3 + seed, 5
    num = rows * cols
    values = torch.randn(num, 6, generator=drawn)
    tokens = tower_tokens(values, Grid(rows=rows, cols=cols))
    for keep in (0.95, 0.5, 0.2):
        method = TomeCompressor(TomeOptions(keep=keep, where="projector"), facts_of(model))
        wanted = [Token(value.double(), [place], 1) for place, value in enumerate(values)]
        while len(wanted) > kept_count(keep, num):
            over = len(wanted) - kept_count(keep, num)
            wanted = merge_by_steps(wanted, [token.state for token in wanted], over)
        wanted.sort(key=lambda token: min(token.members))
        assert_same(method.on_vision(tokens, None), wanted)


def test_tiles_are_merged_without_their_padding(tmp_path: Path) -> None:
    """All views together come to the count asked for, each token at one of its own places."""
    model = loaded("llava_onevision", tmp_path)
    image = picture_for(model)
    assert len(model.views([image])) * 25 > model.num_tokens
    for keep in (0.8, 0.37, 0.02):
        method = TomeCompressor(TomeOptions(keep=keep), facts_of(model))
        seen = look(model, method, image, QUESTION).tokens
        assert len(seen.token) == kept_count(keep, model.num_tokens)
        assert (seen.token.diff() > 0).all()
        assert float(seen.size.sum()) == model.num_tokens


def test_a_clip_is_merged_frame_by_frame_and_cells_keep_their_place(tmp_path: Path) -> None:
    model = loaded("llava_onevision_video", tmp_path)
    clip = picture_for(model)
    whole = model.encode([clip])[0]
    seen = look(
        model, TomeCompressor(TomeOptions(keep=0.5), facts_of(model)), clip, QUESTION
    ).tokens
    assert len(seen.token) == kept_count(0.5, model.num_tokens)
    for frame in range(3):
        assert float(seen.size[seen.frame == frame].sum()) == 9
    torch.testing.assert_close(seen.values[:, -2:], whole[seen.token][:, -2:])
    with pytest.raises(ConfigError, match="clips pool four"):
        look(model, TomeCompressor(TomeOptions(where="tower"), facts_of(model)), clip, QUESTION)


def test_later_blocks_merge_more_where_asked(tmp_path: Path) -> None:
    model = loaded("llava", tmp_path)
    done = []
    for slope in (-1.0, 0.0, 1.0):
        method = TomeCompressor(TomeOptions(inflection=slope), facts_of(model))
        done.append([method._done(block, 3) for block in range(3)])
    assert done[1] == pytest.approx([1 / 3, 2 / 3, 1])
    # w = 2, 1, 0 and 0, 1, 2 of 3.
    assert done[0] == pytest.approx([2 / 3, 1, 1])
    assert done[2] == pytest.approx([0, 1 / 3, 1])


def test_what_may_not_be_merged_is_not() -> None:
    metric = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    free = torch.tensor([False, True, True, False, True, True, True, False, True])
    merging = matching(metric, free, 9)
    # Four even places are free; odd ones that are not free take none of them.
    assert merging.num == 9 - 4
    groups = [(merging.into == merging.into[odd]).sum().item() for odd in (3, 7)]
    assert groups == [1, 1]
    assert matching(metric, ~free & False, 3).num == 9


def test_rounding_does_not_choose_among_equal_tokens() -> None:
    """Two kinds of tokens whose cosine is near the edge of any decimal grid."""
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.9999985, 0.00173205])
    metric = torch.stack([(first, second)[number % 3 == 0] for number in range(18)])
    every = torch.ones(18, dtype=torch.bool)
    found = set()
    for seed in range(12):
        noise = 1e-7 * torch.randn(metric.shape, generator=torch.Generator().manual_seed(seed))
        found.add(tuple(matching(metric + noise, every, 4).into.tolist()))
    assert len(found) == 1
