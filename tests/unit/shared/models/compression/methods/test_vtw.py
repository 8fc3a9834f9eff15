"""VTW against a whole run with a mask, and its calibration against one run for every layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.driver import Driver
from driftline_shared.models.compression.methods.vtw import VtwCompressor, VtwOptions
from driftline_shared.models.compression.methods.withdrawal import calibrated
from driftline_shared.models.compression.rows.rows import Kind, TokenRow
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, random_llama, some_facts, some_row

WIDTH, LAYERS, CELLS, VOCABULARY = 24, 6, 5, 30


def _facts(layers: int = LAYERS) -> ModelFacts:
    grid = Grid(rows=1, cols=CELLS)
    return some_facts(grid, num_layers=layers, head_width=12, width=WIDTH, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def language() -> Any:
    return random_llama(_facts(), 1, std=0.2)


@pytest.fixture(scope="module")
def head() -> torch.nn.Linear:
    torch.manual_seed(2)
    return torch.nn.Linear(WIDTH, VOCABULARY, bias=False)


def _row(seed: int) -> TokenRow:
    grid = Grid(rows=1, cols=CELLS)
    return some_row(clip_kinds(grid, 2, 3 + seed % 3), grid, width=WIDTH, seed=seed)


def _literal(language: Any, row: TokenRow, first: int) -> Tensor:
    """(D,) last hidden state where layers `first`.. hide all that is no text, in one masked run."""
    num = len(row)
    rotary = language.rotary_emb(row.states[None], position_ids=row.positions)
    hidden = row.states[None]
    for layer in range(LAYERS):
        mask = torch.full((num, num), float("-inf"))
        for i in range(num):
            for j in range(i + 1):
                if i == j or layer < first or row.kind[j] == Kind.TEXT:
                    mask[i, j] = 0.0
        hidden = language.layers[layer](
            hidden, attention_mask=mask[None, None], position_embeddings=rotary
        )
    state: Tensor = language.norm(hidden)[0, -1]
    return state


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("layer", [1, 3, 5])
def test_from_k_on_text_is_all_there_is(language: Any, seed: int, layer: int) -> None:
    row, options = _row(seed), VtwOptions(layer=layer)
    compressor = VtwCompressor(options, _facts())
    done = Driver(decoder=Decoder(language), name="vtw").prefill(compressor, row)
    torch.testing.assert_close(done.last, _literal(language, row, layer), atol=1e-5, rtol=1e-5)
    num_text = len(row.text)
    assert done.cache.lengths() == [len(row)] * layer + [num_text] * (LAYERS - layer)
    assert compressor.schedule(num_text, CELLS, 1) == done.layers
    assert done.survivors.tolist() == list(range(CELLS)), "early layers hold them all"
    assert done.row.positions[0].tolist() == row.text.tolist(), "text keeps its positions"


@torch.no_grad()
def test_text_can_be_numbered_anew(language: Any) -> None:
    compressor = VtwCompressor(VtwOptions(layer=2, renumber=True), _facts())
    done = Driver(decoder=Decoder(language), name="vtw").prefill(compressor, _row(0))
    assert done.row.positions[0].tolist() == list(range(len(_row(0).text)))
    assert done.held[1].positions[0].tolist() == list(range(len(_row(0))))


@pytest.mark.parametrize(
    ("keep", "layer", "num_layers", "first"),
    [
        (15 / 32, None, 32, 15),
        (0.5, None, 6, 3),
        (0.01, None, 6, 1),
        (0.999, None, 6, 5),
        (1.0, None, 6, 6),
        (1.0, 2, 6, 6),
        (0.5, 4, 6, 4),
        (0.5, 40, 6, 6),
    ],
)
def test_keep_is_the_share_of_visual_tokens_over_the_layers(
    keep: float, layer: int | None, num_layers: int, first: int
) -> None:
    options = VtwOptions(keep=keep, layer=layer)
    assert options.first_layer(num_layers) == first
    counts = VtwCompressor(options, _facts(num_layers)).schedule(10, 100)
    assert [count.cached for count in counts] == [110] * first + [10] * (num_layers - first)


@torch.no_grad()
def test_calibration_tries_every_layer(language: Any, head: torch.nn.Linear) -> None:
    """Every mean KL, from one whole run and one masked run for each layer and sample."""
    rows = [_row(seed) for seed in range(4)]
    wanted = {}
    for layer in range(2, LAYERS):
        total = 0.0
        for row in rows:
            p = head(_literal(language, row, layer)).double().softmax(-1)
            q = head(_literal(language, row, LAYERS)).double().softmax(-1)
            total += float(sum(a * (a / b).log() for a, b in zip(p, q, strict=True)))
        wanted[layer] = total / len(rows)
    middle = sorted(wanted.values())[1] * 1.0001
    found = calibrated(Decoder(language), head, rows, eta=middle, first=2)
    assert found.divergence == pytest.approx(wanted, rel=1e-3, abs=1e-7)
    assert found.layer == min(layer for layer, value in wanted.items() if value <= middle)


@torch.no_grad()
def test_each_sample_is_read_once_and_text_alone_after_that(
    language: Any, head: torch.nn.Linear
) -> None:
    sizes: list[int] = []
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[1]))
        for layer in language.layers
    ]
    try:
        calibrated(Decoder(language), head, [_row(0)], eta=1e9, first=1)
    finally:
        for handle in handles:
            handle.remove()
    whole, text = len(_row(0)), len(_row(0).text)
    assert sizes.count(whole) == LAYERS
    assert sizes.count(text) == sum(LAYERS - first for first in range(1, LAYERS))


def test_a_bound_that_no_layer_meets_is_an_error(language: Any, head: torch.nn.Linear) -> None:
    with pytest.raises(ConfigError, match=r"more than eta = 1e-12; layer \d comes closest"):
        calibrated(Decoder(language), head, [_row(0)], eta=1e-12)


def test_calibration_needs_prompts_and_layers(language: Any, head: torch.nn.Linear) -> None:
    with pytest.raises(ConfigError, match=r"layers 1\.\.5; given are 0 prompts"):
        calibrated(Decoder(language), head, [])
    with pytest.raises(ConfigError, match="layers from 6"):
        calibrated(Decoder(language), head, [_row(0)], first=6)
