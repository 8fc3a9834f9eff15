"""VoCo against the steps as written: who sees whom, what is held, and that one masked pass equals
two plain ones.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, LlamaModel

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.driver import Driver
from driftline_shared.models.compression.methods.voco import (
    VocoCompressor,
    VocoOptions,
    attention_rule,
)
from driftline_shared.models.compression.rows.rows import TokenRow
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import E, S, T, V, random_llama, some_facts, some_row

WIDTH = 16
FACTS = some_facts(Grid(rows=3, cols=3), num_layers=3, num_heads=4, width=WIDTH, inner=24)


def row_of(kinds: list[int], seed: int = 0) -> TokenRow:
    return some_row(kinds, FACTS.grid, width=WIDTH, seed=seed)


def compressor(tokens: int, trained: int | None = None) -> VocoCompressor:
    return made_of({"tokens": tokens}, {"tokens": torch.randn(trained or tokens, WIDTH)})


def made_of(options: dict[str, Any], weights: dict[str, Tensor]) -> VocoCompressor:
    made = configured("voco", options, FACTS, weights).row()
    assert isinstance(made, VocoCompressor)
    return made


def visible(kinds: list[int]) -> Tensor:
    """Step 2, place by place: text behind VoCo sees no place of the image."""
    last = max(place for place, kind in enumerate(kinds) if kind == E)
    seen = torch.zeros(len(kinds), len(kinds), dtype=torch.bool)
    for i in range(len(kinds)):
        for j in range(i + 1):
            of_image = kinds[j] in (V, S) and j < last
            seen[i, j] = i <= last or not of_image
    return seen


@pytest.mark.parametrize(
    "kinds",
    [
        [T, V, V, V, E, T, T],
        [T, T, V, S, V, V, S, E, E, T],
        [V, V, E, T],
        [T, V, E],
    ],
)
def test_the_rule_is_the_steps_place_by_place(kinds: list[int]) -> None:
    assert torch.equal(attention_rule(torch.tensor([kinds]))[0], visible(kinds))


def test_rows_of_a_batch_have_rules_of_their_own() -> None:
    rows = [[T, V, V, E, T, T], [T, V, E, E, T, T], [T, T, V, V, T, T]]
    rule = attention_rule(torch.tensor(rows))
    assert torch.equal(rule[0], visible(rows[0]))
    assert torch.equal(rule[1], visible(rows[1]))
    assert torch.equal(rule[2], torch.ones(6, 6, dtype=torch.bool).tril())


def test_tokens_stand_behind_the_image_and_the_rest_moves_on() -> None:
    row = row_of([T, T, V, V, S, V, T, T, T])
    method = compressor(2, trained=5)
    made = method.on_embeds(row)
    assert made.kind.tolist() == [T, T, V, V, S, V, E, E, T, T, T]
    assert made.positions[0].tolist() == list(range(11))
    assert torch.equal(made.states[6:8], method.weights["tokens"][:2])
    assert torch.equal(made.states[8:], row.states[6:])
    first = method.prefix(made)
    assert first is not None
    assert first.end == 7
    assert first.kept.tolist() == [0, 1, 6, 7]


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("tokens", "kinds"),
    [
        (1, [T] + [V] * 9 + [T] * 5),
        (3, [T] * 4 + [V] * 6 + [T]),
        (2, [T, T, V, V, S, V, V, T, T, T]),
    ],
)
def test_one_masked_pass_equals_two_plain_ones_and_the_driver(
    seed: int, tokens: int, kinds: list[int]
) -> None:
    model, method, plain = random_llama(FACTS, seed), compressor(tokens), row_of(kinds, seed)
    row = method.on_embeds(plain)
    first = method.prefix(row)
    assert first is not None
    together, causal = (
        model(
            inputs_embeds=row.states[None],
            attention_mask=rule[None, None],
            position_ids=row.positions,
            use_cache=False,
        ).last_hidden_state[0]
        for rule in (attention_rule(row.kind[None])[0], torch.ones(len(row), len(row)).tril() > 0)
    )
    behind = slice(first.end + 1, None)
    apart = two_passes(model, row, first.end, first.kept)
    assert torch.allclose(together[behind], apart, atol=1e-4)
    # The image is hidden: without the rule the same places come out differently.
    assert not torch.allclose(causal[behind], apart, atol=1e-3)
    driven = Driver(decoder=Decoder(model), name="voco").prefill(method, plain)
    seen = torch.cat([first.kept, torch.arange(len(row))[behind]])
    assert torch.allclose(driven.row.states, together[seen], atol=1e-4)


def two_passes(model: LlamaModel, row: TokenRow, end: int, kept: Tensor) -> Tensor:
    """Step 4 with the library's own cache: pass A, keys and values of `kept`, pass B."""
    cache = DynamicCache(config=model.config)
    model(
        inputs_embeds=row.states[None, : end + 1],
        position_ids=row.positions[:, : end + 1],
        past_key_values=cache,
        use_cache=True,
    )
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[:, :, kept], layer.values[:, :, kept]
    behind: Tensor = model(
        inputs_embeds=row.states[None, end + 1 :],
        position_ids=row.positions[:, end + 1 :],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return behind[0]


@pytest.mark.parametrize(
    ("given", "num_visual", "expected"),
    [
        ({}, 576, 1),
        ({}, 64, 1),
        ({"keep": 0.25}, 64, 16),
        ({"keep": 0.001}, 64, 1),
        ({"keep": 0.25, "tokens": 2}, 64, 2),
        ({"keep": 1.0}, 64, 0),
        ({"keep": 1.0, "tokens": 2}, 64, 0),
        ({"tokens": 2}, 0, 0),
    ],
)
def test_how_many_tokens_stand_for_an_image(
    given: dict[str, float], num_visual: int, expected: int
) -> None:
    assert VocoOptions.model_validate(given).num_tokens(num_visual) == expected


@pytest.mark.parametrize(
    ("weights", "said"),
    [({}, "train-compressor voco --out"), ({"tokens": torch.zeros(2, WIDTH)}, "trained with 2")],
)
def test_missing_or_too_few_weights_are_told(weights: dict[str, Tensor], said: str) -> None:
    method = made_of({"tokens": 3}, weights)
    with pytest.raises(ConfigError, match=said):
        method.on_embeds(row_of([T, V, V, V, T]))


def test_fresh_weights_are_as_many_as_asked_and_follow_the_seed() -> None:
    compression = configured("voco", {"tokens": 4}, FACTS)
    drawn = [compression.kind.fresh_weights(compression.options, FACTS, s) for s in (0, 0, 1)]
    assert drawn[0]["tokens"].shape == (4, WIDTH)
    assert torch.equal(drawn[0]["tokens"], drawn[1]["tokens"])
    assert not torch.equal(drawn[0]["tokens"], drawn[2]["tokens"])
