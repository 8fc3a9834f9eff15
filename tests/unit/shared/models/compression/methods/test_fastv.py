"""FastV against its steps as loops over the library's own attention."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.driver import Driver
from driftline_shared.models.compression.methods.fastv import FastvCompressor, FastvOptions
from driftline_shared.models.compression.rows.rows import NONE, TokenRow
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, random_llama, some_facts, some_row

WIDTH, LAYERS = 24, 4


def _facts(cells: int, layers: int = LAYERS) -> ModelFacts:
    changes = {"num_heads": 3, "num_key_heads": 1, "head_width": 8, "width": WIDTH}
    return some_facts(Grid(rows=1, cols=cells), num_layers=layers, **changes)


def _row(seed: int, cells: int) -> TokenRow:
    grid = Grid(rows=1, cols=cells)
    return some_row(clip_kinds(grid, 2, 3), grid, width=WIDTH, seed=seed)


def _literal(
    language: Any, row: TokenRow, layer: int, number: int, criterion: str = "last"
) -> list[int]:
    """Steps 1 to 3: of layer K-1 the last row, or all, head by head; the largest means stay."""
    language.set_attn_implementation("eager")
    maps = language(
        inputs_embeds=row.states[None],
        position_ids=row.positions,
        attention_mask=torch.ones(1, len(row), dtype=torch.long),
        output_attentions=True,
        use_cache=False,
    ).attentions[layer - 1][0]
    language.set_attn_implementation("sdpa")
    scored = []
    for place in row.visual.tolist():
        rows = range(len(row)) if criterion == "all" else [-1]
        mean = math.fsum(float(head[i, place]) for head in maps for i in rows) / len(maps)
        scored.append((mean, int(row.token[place])))
    scored.sort(reverse=True)
    return sorted(token for _, token in scored[:number])


@torch.no_grad()
@pytest.mark.parametrize("criterion", ["last", "all"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("cells", "keep", "layer", "number"), [(7, 0.5, 2, 3), (9, 0.25, 1, 2), (11, 0.01, 3, 1)]
)
def test_it_keeps_what_is_attended_to(
    seed: int, cells: int, keep: float, layer: int, number: int, criterion: Any
) -> None:
    language, row, facts = random_llama(_facts(cells), seed), _row(seed, cells), _facts(cells)
    options = FastvOptions(keep=keep, layer=layer, criterion=criterion)
    driver = Driver(decoder=Decoder(language), name="fastv")
    done = driver.prefill(FastvCompressor(options, facts), row)
    assert done.survivors.tolist() == _literal(language, row, layer, number, criterion)
    rest = len(row) - cells
    wanted = [len(row)] * layer + [rest + number] * (LAYERS - layer)
    assert done.cache.lengths() == wanted, "no layer runs twice, and none drops early"
    plan = FastvCompressor(options, facts).schedule(len(row.text), cells, 1)
    assert plan == done.layers
    assert done.row.positions[0].tolist() == [
        int(position)
        for position, token in zip(row.positions[0], row.token, strict=True)
        if token == NONE or token in done.survivors
    ], "positions stay those of the whole"


def test_the_last_layer_is_the_latest_to_drop_before() -> None:
    shallow = FastvCompressor(FastvOptions(keep=0.5, layer=9), _facts(6, layers=3))
    asked: list[Tensor | None] = [shallow.rows_before(layer, _row(0, 6)) for layer in range(3)]
    assert [each is not None for each in asked] == [False, False, True]
    assert [count.cached for count in shallow.schedule(5, 6)] == [11, 11, 8]


@pytest.mark.parametrize(("num", "kept"), [(31, 15), (63, 31), (576, 288), (1, 1)])
def test_half_of_an_odd_number_is_cut_as_the_public_code_cuts_it(num: int, kept: int) -> None:
    assert FastvOptions().num_kept(num) == kept


def test_shares_that_a_float_holds_just_below_lose_no_token() -> None:
    assert int(0.29 * 100) == 28
    assert FastvOptions(keep=0.29).num_kept(100) == 29
