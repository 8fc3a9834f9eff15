"""MoD against the steps as written: which places a layer computes, by how much, and its counts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression import flops
from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.methods.mod import best_places, default_layers
from driftline_shared.models.compression.rows.rows import TokenRow
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import S, T, V, some_facts, some_row

WIDTH = 8


def facts(frames: int = 3) -> ModelFacts:
    return some_facts(Grid(frames=frames, rows=2, cols=5))


def clip_row(seed: int, sizes: tuple[int, ...]) -> TokenRow:
    """Text, then frames of which some tokens are gone already, a separator each, then text."""
    random = torch.Generator().manual_seed(seed)
    kinds, tokens = [T, T], []
    for frame, size in enumerate(sizes):
        kinds += [V] * size + [S]
        cells = torch.randperm(10, generator=random)[:size].sort().values
        tokens += (10 * frame + cells).tolist()
    return some_row(kinds + [T] * 4, facts().grid, seed=seed, tokens=tokens)


def routed(row: TokenRow, router: Tensor, bias: float, keep: float, kind: str) -> dict[int, float]:
    """Steps 1 to 4, token by token in float64: place -> gate of the places that are computed."""
    computed = {place: 1.0 for place in range(len(row)) if int(row.kind[place]) != V}
    frames: dict[int, list[tuple[float, int]]] = {}
    for place in range(len(row)):
        if int(row.kind[place]) != V:
            continue
        score = sum(
            float(row.states[place, channel]) * float(router[channel]) for channel in range(WIDTH)
        )
        frames.setdefault(int(row.token[place]) // 10, []).append((score, place))
    for scored in frames.values():
        best = sorted(scored, reverse=True)[: max(1, round(keep * len(scored)))]
        for score, place in best:
            opened = score + bias
            computed[place] = 1 / (1 + math.exp(-opened)) if kind == "sigmoid" else opened
    return computed


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sizes", [(10, 10, 10), (7, 1, 9), (5,)])
@pytest.mark.parametrize("keep", [0.05, 0.2, 0.55])
@pytest.mark.parametrize("kind", ["sigmoid", "identity"])
def test_places_and_gates_are_those_of_the_steps(
    seed: int, sizes: tuple[int, ...], keep: float, kind: str
) -> None:
    row = clip_row(seed, sizes)
    random = torch.Generator().manual_seed(100 + seed)
    weights = {
        "router.1": torch.randn(WIDTH, generator=random),
        "bias.1": torch.randn(1, generator=random),
    }
    options: dict[str, Any] = {"keep": keep, "layers": [1], "gate": kind}
    method = configured("mod", options, facts(), weights).row()
    found = method.route(1, row)
    assert found is not None
    expected = routed(row, weights["router.1"], float(weights["bias.1"]), keep, kind)
    assert found.places.tolist() == sorted(expected)
    wanted = torch.tensor([expected[place] for place in sorted(expected)])
    assert torch.allclose(found.gate, wanted, atol=1e-5)
    assert method.route(0, row) is None


@pytest.mark.parametrize(
    ("num_layers", "expected"),
    [(1, (0,)), (2, (0,)), (3, (0,)), (4, (0, 2)), (32, tuple(range(0, 31, 2)))],
)
def test_every_other_layer_is_a_mod_layer_but_for_the_last(
    num_layers: int, expected: tuple[int, ...]
) -> None:
    assert default_layers(num_layers) == expected


def test_interleaved_layers_cost_what_is_published() -> None:
    """0.600 of the cache and 0.585 of FLOPs: 600 frames of 10 tokens through Llama-3-8B."""
    llama = {"num_layers": 32, "num_heads": 32, "num_key_heads": 8, "head_width": 128}
    sizes = {"width": 4096, "inner": 14_336, "vocabulary": 128_256}
    known = some_facts(Grid(frames=600, rows=1, cols=10), **llama, **sizes)
    layers = configured("mod", {}, known, {}).row().schedule(0, 6_000)
    whole = flops.whole(known, 6_000)
    cached, computed = (
        flops.cache_bytes(known, [each.cached for each in layers]),
        sum(flops.layer_flops(known, each.queries, each.keys) for each in layers),
    )
    assert cached / flops.cache_bytes(known, [each.cached for each in whole]) == 0.6
    full = 32 * flops.layer_flops(known, 6_000, 6_000)
    assert computed / full == pytest.approx(0.585, abs=0.01)


def test_fresh_weights_leave_gates_open() -> None:
    compression = configured("mod", {"keep": 0.3}, facts())
    weights = compression.kind.fresh_weights(compression.options, facts(), 3)
    found = configured("mod", {"keep": 0.3}, facts(), weights).row().route(2, clip_row(2, (10, 9)))
    assert found is not None
    assert float(found.gate.min()) > 0.95
    layers = ["0", "2", "4"]
    assert sorted(weights) == [f"{part}.{layer}" for part in ("bias", "router") for layer in layers]


def test_of_equal_scores_the_earlier_ones_stay() -> None:
    scores = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0, 3.0]])
    assert best_places(scores, 0.4).tolist() == [[1, 2], [0, 4]]


def test_wrong_layers_and_missing_routers_are_told() -> None:
    row = clip_row(0, (10, 10, 10))
    with pytest.raises(ConfigError, match=r"layers names \[6\]"):
        configured("mod", {"layers": [6]}, facts(), {}).row().route(0, row)
    with pytest.raises(ConfigError, match="train-compressor mod --out"):
        configured("mod", {"layers": [2]}, facts(), {}).row().route(2, row)
