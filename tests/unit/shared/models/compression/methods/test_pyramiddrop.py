"""PyramidDrop against its steps, stage by stage through the library's own eager attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.driver import Driver
from driftline_shared.models.compression.methods.pyramiddrop import (
    PyramidDropCompressor,
    PyramidDropOptions,
)
from driftline_shared.models.compression.rows.rows import TokenRow
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, random_llama, some_facts, some_row

WIDTH = 24


def _facts(cells: int, layers: int) -> ModelFacts:
    changes = {"num_heads": 3, "num_key_heads": 1, "head_width": 8, "width": WIDTH}
    return some_facts(Grid(rows=1, cols=cells), num_layers=layers, **changes)


def _row(seed: int, cells: int) -> TokenRow:
    grid = Grid(rows=1, cols=cells)
    return some_row(clip_kinds(grid, 2, 3), grid, width=WIDTH, seed=seed, start=4)


def _method(cells: int, depth: int, **options: Any) -> PyramidDropCompressor:
    return PyramidDropCompressor(PyramidDropOptions(**options), _facts(cells, depth))


def _steps(
    language: Any, row: TokenRow, cuts: list[int], counts: list[int], renumber: bool
) -> tuple[list[list[int]], Tensor]:
    """Places of the row behind each cut, and the states (n, D) behind the last layer."""
    language.set_attn_implementation("eager")
    states, positions = row.states[None], row.positions
    visual = {int(place) for place in row.visual}
    held, every = list(range(len(row))), []
    for number, layer in enumerate(language.layers):
        parts = {"position_embeddings": language.rotary_emb(states, position_ids=positions)}
        size = len(held)
        mask = torch.full((size, size), float("-inf")).triu(1)[None, None]
        if number in cuts:
            # The attention of the layer to come: its own projections of what would enter it.
            maps = layer.self_attn(layer.input_layernorm(states), attention_mask=mask, **parts)[1]
            mean = maps[0].double().mean(dim=0)[-1].tolist()
            tokens = [i for i in range(size) if held[i] in visual]
            tokens.sort(key=lambda i: (-mean[i], i))
            kept = set(tokens[: counts[cuts.index(number)]])
            stays = [i for i in range(size) if held[i] not in visual or i in kept]
            held, states = [held[i] for i in stays], states[:, stays]
            positions = positions[:, stays]
            if renumber:
                positions = row.positions[:, :1] + torch.arange(len(held))
            every.append(held)
            parts = {"position_embeddings": language.rotary_emb(states, position_ids=positions)}
            mask = torch.full((len(held), len(held)), float("-inf")).triu(1)[None, None]
        states = layer(states, attention_mask=mask, position_ids=positions, **parts)
    language.set_attn_implementation("sdpa")
    return every, language.norm(states)[0]


@torch.no_grad()
@pytest.mark.parametrize("renumber", [True, False])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("cells", "layers", "options", "cuts", "counts"),
    [
        (16, 8, {"keep": 0.125}, [2, 4, 6], [8, 4, 2]),
        (27, 8, {"keep": 0.125}, [2, 4, 6], [13, 6, 3]),
        (9, 6, {"keep": 0.25, "stages": 3}, [2, 4], [4, 2]),
        (11, 4, {"keep": 0.3, "layers": (1,)}, [1], [3]),
        (5, 4, {"keep": 0.001, "stages": 4}, [1, 2, 3], [1, 1, 1]),
        (10, 5, {"keep": 0.5, "layers": (1, 3)}, [1, 3], [7, 5]),
    ],
)
def test_it_drops_what_the_steps_drop(
    seed: int, cells: int, layers: int, options: Any, cuts: Any, counts: Any, renumber: bool
) -> None:
    language, row = random_llama(_facts(cells, layers), seed), _row(seed, cells)
    method = _method(cells, layers, renumber=renumber, **options)
    done = Driver(decoder=Decoder(language), name="pyramiddrop").prefill(method, row)
    every, states = _steps(language, row, cuts, counts, renumber)
    assert done.row.origin is not None
    assert done.row.origin.tolist() == every[-1]
    for layer, places in zip(cuts, every, strict=True):
        held = done.held[layer]
        assert held.origin is not None and held.origin.tolist() == places
    torch.testing.assert_close(done.row.states, states, atol=1e-4, rtol=1e-4)
    assert method.schedule(5, cells, 1) == done.layers
    if renumber:
        start = int(row.positions[0, 0])
        assert done.row.positions[0].tolist() == list(range(start, start + len(every[-1])))


def test_the_published_stages() -> None:
    """LLaVA-1.5-7B: 576 tokens, from layers 8, 16 and 24 on 288, 144 and 72."""
    planned = _method(576, 32).schedule(10, 576)
    assert [each.queries - 10 for each in planned] == [576] * 8 + [288] * 8 + [144] * 8 + [72] * 8


def test_shallow_models_have_fewer_stages() -> None:
    planned = _method(8, 2, keep=0.5).schedule(1, 8)
    assert [each.queries - 1 for each in planned] == [8, 4]


@pytest.mark.parametrize("layers", [(), (0, 2), (2, 2), (3, 2), (2, 6)])
def test_layers_that_do_not_fit_are_named(layers: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="layers"):
        _method(8, 6, layers=layers)
