"""DART against its steps as loops over the library's own keys and states."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.driver import Driver
from driftline_shared.models.compression.methods.dart import DartCompressor, DartOptions
from driftline_shared.models.compression.rows.layer_look import TorchLook
from driftline_shared.models.compression.rows.rows import NONE, TokenRow
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, random_llama, some_facts, some_row

WIDTH, LAYERS = 24, 4


def _facts(cells: int) -> ModelFacts:
    changes = {"num_heads": 3, "num_key_heads": 1, "head_width": 8, "width": WIDTH}
    return some_facts(Grid(rows=1, cols=cells), num_layers=LAYERS, **changes)


def _row(seed: int, cells: int, behind: int = 5) -> TokenRow:
    grid = Grid(rows=1, cols=cells)
    return some_row(clip_kinds(grid, 2, behind), grid, width=WIDTH, seed=seed)


def _cosine(a: list[float], b: list[float]) -> float:
    dot = math.fsum(p * q for p, q in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(p * p for p in a) * math.fsum(q * q for q in b))


def _steps(row: TokenRow, keys: Tensor, normed: Tensor, options: DartOptions) -> list[int]:
    """Tokens that stay. `keys` (key heads, n, d_h) of layer K - 1, `normed` (n, D)."""
    visual, text = row.visual.tolist(), row.question.tolist()
    length = {
        place: math.fsum(abs(value) for head in keys.double().tolist() for value in head[place])
        for place in (*visual, *text)
    }
    states = normed.double().tolist()
    budget = max(1, round(options.keep * len(visual)))
    num_own = min(options.image_pivots, budget if options.exact else len(visual))
    own = sorted(sorted(visual, key=lambda place: (-length[place], place))[:num_own])
    asked = sorted(sorted(text, key=lambda place: (-length[place], place))[: options.text_pivots])
    pivots, chosen, left = own + asked, set(own), budget - num_own
    for number, pivot in enumerate(pivots):
        if options.exact:
            # What is left is dealt evenly over the pivots to come.
            share = math.ceil(left / (len(pivots) - number))
            left -= share
        else:
            wanted = options.image_pivots + options.text_pivots
            share = int(options.keep * len(visual) / wanted + 1e-9)
        free = [place for place in visual if place not in chosen]
        free.sort(key=lambda place: (_cosine(states[place], states[pivot]), place))
        chosen |= set(free[:share])
    return sorted(int(row.token[place]) for place in chosen)


def _read(language: Any, row: TokenRow, layer: int) -> tuple[Tensor, Tensor]:
    """Keys that layer K - 1 caches, and the states behind it and the final norm."""
    done = language(
        inputs_embeds=row.states[None],
        position_ids=row.positions,
        output_hidden_states=True,
        use_cache=True,
    )
    keys = done.past_key_values.layers[layer - 1].keys[0]
    return keys, language.norm(done.hidden_states[layer])[0]


@torch.no_grad()
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("cells", "keep", "layer", "own", "asked"),
    [
        (31, 0.5, 2, 4, 4),
        (24, 128 / 576, 1, 4, 4),
        (17, 0.7, 3, 3, 2),
        (9, 0.3, 2, 4, 4),
        (40, 0.95, 2, 2, 0),
        (5, 0.01, 2, 1, 9),
    ],
)
def test_it_keeps_what_the_steps_keep(
    seed: int, cells: int, keep: float, layer: int, own: int, asked: int, exact: bool
) -> None:
    language, row, facts = random_llama(_facts(cells), seed), _row(seed, cells), _facts(cells)
    options = DartOptions(keep=keep, layer=layer, image_pivots=own, text_pivots=asked, exact=exact)
    done = Driver(decoder=Decoder(language), name="dart").prefill(
        DartCompressor(options, facts), row
    )
    kept = _steps(row, *_read(language, row, layer), options)
    assert done.survivors.tolist() == kept
    if exact:
        assert len(kept) == max(1, round(keep * cells))
    rest = len(row) - cells
    wanted = [len(row)] * layer + [rest + len(kept)] * (LAYERS - layer)
    assert done.cache.lengths() == wanted
    assert DartCompressor(options, facts).schedule(7, cells, 1) == done.layers
    assert done.row.positions[0].tolist() == [
        int(position)
        for position, token in zip(row.positions[0], row.token, strict=True)
        if token == NONE or token in done.survivors
    ], "positions stay those of the whole"


def test_published_counts_of_the_code() -> None:
    """128 of 576 by eight pivots: 16 each, and the four visual pivots."""
    own, shares = DartOptions(exact=False).shares(576, 40)
    assert (own, shares) == (4, [16] * 8)
    own, shares = DartOptions().shares(576, 40)
    assert own + sum(shares) == 128 and set(shares) == {15, 16}


def test_of_equals_the_earlier_stay() -> None:
    """All keys and states alike: pivots are the first ones, and so is what they take."""
    row = _row(0, 12)
    even = torch.ones(len(row), WIDTH)
    look = TorchLook(
        layer=None,
        norm=torch.nn.Identity(),
        states=even,
        rotary=(even, even),
        keys_before=torch.ones(1, len(row), 8),
    )
    method = DartCompressor(DartOptions(keep=0.5, image_pivots=2, text_pivots=1), _facts(12))
    made = method.on_input(2, row, look)
    assert made.token[made.visual].tolist() == [0, 1, 2, 3, 4, 5]
    assert method.on_input(1, row, look) is row and method.on_input(3, row, look) is row
