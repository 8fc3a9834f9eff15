"""DyCoke's two stages against their steps written out in plain loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.methods.dycoke import DyCokeCompressor, DyCokeOptions
from driftline_shared.models.compression.rows.rows import TokenRow
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_facts, some_row

WIDTH = 8
ROWS, COLS = 3, 5
TEXT = 3 + 4


def _facts(depth: int = 6, frames: int = 4) -> ModelFacts:
    return some_facts(Grid(frames=frames, rows=ROWS, cols=COLS), num_layers=depth)


def _row(seed: int, frames: int) -> TokenRow:
    """Text, a clip with one newline behind it, text."""
    grid = Grid(frames=frames, rows=ROWS, cols=COLS)
    return some_row(clip_kinds(grid, 3, 4), grid, seed=seed, start=2)


def _cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def _stage_1_by_loops(clip: list[list[list[float]]], merge: float) -> list[int]:
    """Flat indices that stay of a whole clip (frames, tokens, width)."""
    size = len(clip[0])
    num = math.floor(round((1 - merge) * size, 6))
    stays = []
    for start in range(0, len(clip), 4):
        window = clip[start : start + 4]
        for index, frame in enumerate(window):
            kept = list(range(size))
            if index > 0:
                other = window[{1: 0, 2: 0, 3: 2}[index]]
                kept.sort(key=lambda i: _cosine(frame[i], other[i]))
                kept = sorted(kept[:num])
            stays += [(start + index) * size + i for i in kept]
    return stays


@pytest.mark.parametrize("merge", [0.3, 0.7, 0.9, 1.0])
@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6, 7, 8, 13])
def test_stage_1_equals_the_steps_written_out(frames: int, merge: float) -> None:
    row = _row(frames, frames)
    compressor = DyCokeCompressor(DyCokeOptions(merge=merge), _facts(frames=frames), None)
    after = compressor.on_embeds(row)
    clip = row.states[row.visual].double().reshape(frames, ROWS * COLS, WIDTH).tolist()
    wanted = _stage_1_by_loops(clip, merge)
    assert after.token[after.visual].tolist() == wanted
    places = [0, 1, 2, *(3 + i for i in wanted), *range(len(row) - 5, len(row))]
    assert torch.equal(after.states, row.states[places])
    assert torch.equal(after.positions, row.positions[:, places])
    assert compressor.schedule(TEXT, frames * ROWS * COLS, 1)[0].cached == len(after)


def test_the_papers_settings_keep_the_papers_shares() -> None:
    grid = Grid(frames=32, rows=14, cols=14)
    facts = ModelFacts(**{**vars(_facts(28)), "grid": grid})
    for options in (DyCokeOptions(), DyCokeOptions(merge=0.7)):
        counts = DyCokeCompressor(options, facts, None).schedule(0, 6272)
        # A window keeps 196 + 3 * int(0.3 * 196) = 370 tokens.
        assert {each.queries for each in counts} == {8 * 370}
        assert [each.read for each in counts] == [2960] * 3 + [888] * 25
        assert counts[0].read / 6272 == pytest.approx(0.475, abs=0.004)
        assert counts[-1].read / 6272 == pytest.approx(0.1425, abs=0.001)


@pytest.mark.parametrize("keep", [0.1, 0.25, 0.4, 0.5, 0.9])
@pytest.mark.parametrize("frames", [2, 4, 6, 8, 9])
def test_keep_is_the_share_behind_stage_1(frames: int, keep: float) -> None:
    row = _row(0, frames)
    compressor = DyCokeCompressor(DyCokeOptions(keep=keep), _facts(frames=frames), None)
    left = len(compressor.on_embeds(row).visual) / len(row.visual)
    least = -(-frames // 4) / frames
    # Each compared frame rounds its own share down.
    assert max(keep, least) - 1 / 15 <= left <= max(keep, least) + 1e-9


def test_a_token_without_an_earlier_one_in_its_place_stays_first() -> None:
    row = _row(3, 2)
    row = row.take(torch.tensor([i for i in range(len(row)) if row.token[i] not in (2, 7, 14, 20)]))
    after = DyCokeCompressor(DyCokeOptions(merge=0.7), _facts(), None).on_embeds(row)
    tokens = after.token[after.visual].tolist()
    assert [t for t in tokens if t < 15] == [t for t in range(15) if t not in (2, 7, 14)]
    # int(0.3 * 14) = 4 of the second frame: the three whose place was empty, and the least alike.
    second = [t for t in tokens if t >= 15]
    assert len(second) == 4 and {17, 22, 29} < set(second)


def _stage_2_by_loops(
    attentions: list[list[float]], prune: float, threshold: float
) -> list[list[int]]:
    """Indices of visual tokens read at each step."""
    num = math.floor(round((1 - prune) * len(attentions[0]), 6))
    read: list[list[int]] = []
    for step, a in enumerate(attentions):
        if step and _cosine(a, attentions[step - 1]) >= threshold:
            read.append(read[-1])
        else:
            read.append(sorted(sorted(range(len(a)), key=lambda i: -a[i])[:num]))
    return read


@pytest.mark.parametrize("prune", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_stage_2_equals_the_steps_written_out(seed: int, prune: float) -> None:
    facts = _facts(frames=4)
    compressor = DyCokeCompressor(DyCokeOptions(prune=prune), facts, None)
    row = compressor.on_embeds(_row(seed, 4))
    cached = row.with_states(row.states[:, :0])
    generator = torch.Generator().manual_seed(seed)
    attention = torch.rand(len(row), generator=generator)
    seen, read = [], []
    for step in range(12):
        # Small changes and, every third step, another place to look at.
        fresh = torch.rand(len(row), generator=generator)
        attention = fresh if step % 3 == 0 else attention + 0.05 * fresh
        seen.append(attention[row.visual].double().tolist())
        chosen = []
        for layer in range(6):
            assert compressor.decode_row_before(layer) == (layer == 3)
            given = attention if layer == 3 else None
            places = compressor.on_decode(step, layer, cached, given)
            if layer < 3:
                assert places is None
            else:
                assert places is not None
                chosen.append(places.tolist())
        assert chosen[0] == chosen[1] == chosen[2]
        read.append(chosen[0])
    wanted = _stage_2_by_loops(seen, prune, 0.9)
    assert len({tuple(each) for each in wanted}) in range(3, 12)
    visual = row.visual.tolist()
    others = [i for i in range(len(row)) if i not in visual]
    assert read == [sorted(others + [visual[i] for i in step]) for step in wanted]
    schedule = compressor.schedule(TEXT, 60, 1)
    assert [each.cached for each in schedule] == [len(row)] * 6
    assert [each.read for each in schedule] == [len(row)] * 3 + [len(read[0])] * 3


@pytest.mark.parametrize(("depth", "layer"), [(28, 3), (4, 3), (3, 2), (2, 1)])
def test_the_layer_never_lies_past_the_last(depth: int, layer: int) -> None:
    compressor = DyCokeCompressor(DyCokeOptions(), _facts(depth), None)
    assert [each for each in range(depth) if compressor.decode_row_before(each)] == [layer]


def test_a_model_of_one_layer_reads_all() -> None:
    compressor = DyCokeCompressor(DyCokeOptions(), _facts(1), None)
    only = compressor.schedule(TEXT, 60)[0]
    assert only.read == only.cached


def test_a_layer_the_model_does_not_have_is_refused() -> None:
    options: dict[str, Any] = {"layer": 6}
    with pytest.raises(ConfigError, match="this model's last is 5"):
        DyCokeCompressor(DyCokeOptions.model_validate(options), _facts(6), None)
