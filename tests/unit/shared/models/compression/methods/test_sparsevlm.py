"""SparseVLM against its steps written out in plain loops, and against the published budgets."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.methods.sparsevlm import (
    SparseVlmCompressor,
    SparseVlmOptions,
    default_layers,
    recycled_counts,
)
from driftline_shared.models.compression.rows.rows import Kind, TokenRow
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_facts, some_row
from tests.unit.shared.models.compression.density_peaks_by_loops import density_peaks_by_loops

WIDTH = 8


def _facts(depth: int, rows: int = 5, cols: int = 7) -> ModelFacts:
    return some_facts(Grid(rows=rows, cols=cols), num_layers=depth)


def _row(seed: int, *, before: int = 3, behind: int = 6, rows: int = 5, cols: int = 7) -> TokenRow:
    """Text, an image with a newline behind each of its rows, text."""
    grid = Grid(rows=rows, cols=cols)
    return some_row(clip_kinds(grid, before, behind, every=cols), grid, seed=seed)


def _run(
    compressor: SparseVlmCompressor, row: TokenRow, seed: int
) -> tuple[list[TokenRow], list[tuple[list[int], torch.Tensor]]]:
    """Rows at the input of every layer, with random states and attention between."""
    generator = torch.Generator().manual_seed(seed)
    row = compressor.on_embeds(row)
    seen, asked = [row], []
    for layer in range(1, compressor.facts.num_layers):
        places = compressor.rows_before(layer, row)
        row = row.with_states(torch.randn(len(row), WIDTH, generator=generator))
        attention = None
        if places is not None:
            attention = torch.rand(len(places), len(row), generator=generator)
            asked.append((places.tolist(), attention))
        row = compressor.on_layer(layer, row, attention)
        seen.append(row)
    return seen, asked


def _raters_by_loops(row: TokenRow) -> list[int]:
    states = row.states.double().tolist()
    kinds = row.kind.tolist()
    visual = [i for i, kind in enumerate(kinds) if kind == Kind.VISUAL]
    text = [i for i, kind in enumerate(kinds) if kind == Kind.TEXT and i > visual[-1]]
    mean = [0.0] * len(text)
    for v in visual:
        weights = [
            math.exp(sum(a * b for a, b in zip(states[v], states[t], strict=True))) for t in text
        ]
        for j, weight in enumerate(weights):
            mean[j] += weight / sum(weights) / len(visual)
    threshold = sum(mean) / len(mean)
    return [t for t, r in zip(text, mean, strict=True) if r >= threshold]


def _prune_by_loops(
    states: list[list[float]], visual: list[int], attention: list[list[float]], keep: int, how: str
) -> dict[int, list[float] | None]:
    """Visual places that stay -> None, or the state of the recycled token that stands there."""
    score = {v: sum(row[v] for row in attention) / len(attention) for v in visual}
    order = sorted(visual, key=lambda v: -score[v])
    kept: dict[int, list[float] | None] = dict.fromkeys(order[:keep])
    deleted = order[keep:]
    if deleted and how != "off":
        again = sorted(deleted[: int(0.3 * len(deleted)) + 1])
        num = int(len(again) / 10) + 1
        centres, member = density_peaks_by_loops([states[v] for v in again], num)
        for cluster, centre in enumerate(centres):
            own = [states[v] for v, m in zip(again, member, strict=True) if m == cluster]
            total = [sum(column) for column in zip(*own, strict=True)]
            size = len(own) if how == "mean" else 1
            kept[again[centre]] = [value / size for value in total]
    return kept


@pytest.mark.parametrize("how", ["mean", "sum", "off"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_steps_written_out(seed: int, how: str) -> None:
    options = SparseVlmOptions.model_validate(
        {"layers": (1, 2), "shares": (0.6, 0.2), "recycle": how}
    )
    compressor = SparseVlmCompressor(options, _facts(4, 6, 9), None)
    row = _row(seed, rows=6, cols=9, behind=5 + seed)
    raters = _raters_by_loops(row)
    text = row.text.tolist()

    generator = torch.Generator().manual_seed(seed + 100)
    row = compressor.on_embeds(row)
    for layer in range(1, 4):
        row = row.with_states(torch.randn(len(row), WIDTH, generator=generator))
        places = compressor.rows_before(layer, row)
        if layer == 1:
            assert places is None
            continue
        assert places is not None
        of_text = row.text.tolist()
        assert places.tolist() == [of_text[text.index(rater)] for rater in raters]
        attention = torch.rand(len(places), len(row), generator=generator)
        keep = round((0.6 if layer == 2 else 0.2) * 54)
        visual = row.visual.tolist()
        wanted = _prune_by_loops(
            row.states.double().tolist(), visual, attention.double().tolist(), keep, how
        )
        after = compressor.on_layer(layer, row, attention)
        stays = [i for i in range(len(row)) if i not in visual or i in wanted]
        assert torch.equal(after.positions, row.positions[:, stays])
        assert torch.equal(after.token, row.token[stays])
        for new, old in enumerate(stays):
            merged = wanted.get(old)
            state = row.states[old] if merged is None else torch.tensor(merged)
            torch.testing.assert_close(after.states[new], state)
        row = after


@pytest.mark.parametrize("average", ["outputs", "inputs"])
@pytest.mark.parametrize("keep", [0.15, 0.25, 0.5, 0.75, 0.95])
@pytest.mark.parametrize(("depth", "layers"), [(32, None), (30, None), (24, None), (24, (1, 9))])
def test_keep_is_the_average_over_layers(
    depth: int, layers: tuple[int, ...] | None, keep: float, average: str
) -> None:
    options = SparseVlmOptions.model_validate({"keep": keep, "layers": layers, "average": average})
    compressor = SparseVlmCompressor(options, _facts(depth), None)
    entering = [each.queries for each in compressor.schedule(0, 576)]
    counts = entering if average == "inputs" else [*entering[1:], entering[-1]]
    assert sum(counts) / depth / 576 == pytest.approx(keep, abs=0.006)


@pytest.mark.parametrize(
    ("budget", "kept", "left"),
    [
        (192, (300, 200, 110), 192.0),
        (128, (303, 110, 36), 128.6),
        (96, (238, 48, 26), 96.9),
        (64, (66, 30, 17), 64.8),
    ],
)
def test_published_budgets_at_the_published_depth(
    budget: int, kept: tuple[int, ...], left: float
) -> None:
    compressor = SparseVlmCompressor(SparseVlmOptions(keep=budget / 576), _facts(32), None)
    entering = [each.queries for each in compressor.schedule(0, 576)]
    again = [
        recycled_counts(a - b, 0.3)[1] for a, b in zip((576, *_left(kept)), kept, strict=False)
    ]
    first, second, third = (k + a for k, a in zip(kept, again, strict=True))
    assert entering == [576] * 3 + [first] * 4 + [second] * 9 + [third] * 16
    leaving = [*entering[1:], entering[-1]]
    assert sum(leaving) / 32 == pytest.approx(left, abs=0.06)


def _left(kept: tuple[int, ...]) -> list[int]:
    """Tokens behind each pruning layer, recycled ones counted."""
    num, left = 576, []
    for k in kept:
        num = k + int((int(0.3 * (num - k)) + 1) / 10) + 1
        left.append(num)
    return left


def test_rank_deletes_what_the_raters_attention_repeats() -> None:
    options = SparseVlmOptions(keep=0.25, counts="rank", layers=(0,), recycle="off")
    compressor = SparseVlmCompressor(options, _facts(3), None)
    row = compressor.on_embeds(_row(1))
    places = compressor.rows_before(1, row)
    assert places is not None
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(2, len(row), generator=generator)
    mix = torch.rand(len(places), 2, generator=generator)
    after = compressor.on_layer(1, row, mix @ base)
    rank = min(2, len(places))
    assert len(after.visual) == 35 - int(0.75 * (35 - rank))

    exact = SparseVlmCompressor(
        options.model_copy(update={"rank_scale": 1.0}), compressor.facts, None
    )
    exact.on_embeds(_row(1))
    assert len(exact.on_layer(1, row, mix @ base).visual) == rank


def test_a_large_scale_still_keeps_one_token() -> None:
    options = SparseVlmOptions(counts="rank", rank_scale=5.0, layers=(0,), recycle="off")
    compressor = SparseVlmCompressor(options, _facts(3), None)
    row = compressor.on_embeds(_row(2))
    places = compressor.rows_before(1, row)
    assert places is not None
    attention = torch.ones(len(places), len(row))
    assert len(compressor.on_layer(1, row, attention).visual) == 1


def test_renumbered_positions_have_no_gaps() -> None:
    options = SparseVlmOptions(keep=0.3, renumber=True)
    compressor = SparseVlmCompressor(options, _facts(6), None)
    row = _row(3)
    row = replace(row, positions=row.positions + 11)
    rows, _ = _run(compressor, row, 3)
    assert len(rows[-1]) < len(row)
    assert rows[-1].positions[0].tolist() == list(range(11, 11 + len(rows[-1])))


def test_an_image_without_text_behind_it_is_rated_by_the_last_place() -> None:
    compressor = SparseVlmCompressor(SparseVlmOptions(keep=0.4), _facts(8), None)
    row = _row(5, behind=0)
    _, asked = _run(compressor, row, 5)
    assert asked[0][0] == [len(row) - 1]


def test_equal_ratings_make_raters_of_all_text() -> None:
    compressor = SparseVlmCompressor(SparseVlmOptions(keep=0.4), _facts(8), None)
    row = _row(7, behind=7)
    row = row.with_states(torch.full_like(row.states, 0.1))
    _, asked = _run(compressor, row, 7)
    assert asked[0][0] == row.question.tolist()


def test_recycled_tokens_carry_gradients() -> None:
    options = SparseVlmOptions(layers=(0,), shares=(0.2,))
    compressor = SparseVlmCompressor(options, _facts(3), None)
    row = compressor.on_embeds(_row(8))
    states = row.states.clone().requires_grad_()
    places = compressor.rows_before(1, row)
    assert places is not None
    attention = torch.rand(len(places), len(row), generator=torch.Generator().manual_seed(0))
    after = compressor.on_layer(1, row.with_states(states), attention)
    (gradient,) = torch.autograd.grad(after.states.sum(), states)
    reached = int((gradient.abs().sum(dim=1) > 0).sum())
    # 7 stay; of 28 deleted ones int(0.3 * 28) + 1 = 9 live on in one recycled token.
    assert reached == 9 + 5 + 7 + 9


@pytest.mark.parametrize(
    ("depth", "layers"),
    [(32, (2, 6, 15)), (30, (2, 6, 14)), (24, (2, 5, 11)), (4, (0, 1, 2)), (2, (0,)), (1, ())],
)
def test_default_layers(depth: int, layers: tuple[int, ...]) -> None:
    assert default_layers(depth) == layers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (3, 1)}, "rising layers from 0 to 6"),
        ({"layers": (7,)}, "rising layers from 0 to 6"),
        ({"shares": (0.5, 0.2)}, "each of the layers"),
        ({"shares": (0.5, 0.2, 0.0)}, "above 0"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SparseVlmCompressor(SparseVlmOptions.model_validate(options), _facts(8), None)


@pytest.mark.parametrize("keep", [0.02, 0.1, 0.5])
def test_a_language_model_is_cut_at_all_its_layers_whatever_it_keeps(keep: float) -> None:
    """Also where one token is deleted and one recycled, so that as many are left."""
    facts = some_facts(Grid(rows=8, cols=8), num_layers=12)
    made = configured("sparsevlm", {"keep": keep}, facts)
    assert made.cuts(64) == tuple(layer + 1 for layer in default_layers(12))
    assert configured("sparsevlm", {"keep": 1.0}, facts).cuts(64) == ()
