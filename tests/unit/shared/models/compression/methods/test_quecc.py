"""QueCC against its steps: torch's own modules, window by window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressed_model import facts_of
from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.methods.quecc import (
    QueccCompressor,
    QueccOptions,
    compress,
    window_of,
)
from driftline_shared.models.compression.rows.rows import TowerTokens
from driftline_shared.models.compression.tower import look
from driftline_shared.tokens import Grid
from tests.fakes.compression import some_facts, tower_tokens
from tests.unit.shared.models.compression.test_tower import QUESTION, loaded, picture_for

WIDTH, LANGUAGE = 16, 24


def known_of(grid: Grid) -> ModelFacts:
    return some_facts(grid, num_layers=4, head_width=12, width=LANGUAGE, tower_width=WIDTH)


def drawn(seed: int, grid: Grid) -> tuple[TowerTokens, Tensor]:
    random = torch.Generator().manual_seed(seed)
    num = grid.num_tokens
    values, layers = (torch.randn(num, width, generator=random) for width in (WIDTH, 4 * WIDTH))
    return tower_tokens(values, grid, layers=layers), torch.randn(LANGUAGE, generator=random)


def rough(weights: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Weights of which nothing is one, zero or a mean any more."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: value + 0.1 * torch.randn(value.shape, generator=random)
        for name, value in weights.items()
    }


def module(weights: dict[str, Tensor], name: str, made: Any) -> Any:
    part = {
        key.removeprefix(f"{name}."): value.double()
        for key, value in weights.items()
        if key.startswith(f"{name}.")
    }
    made.double().load_state_dict(part)
    return made


def mlp(weights: dict[str, Tensor], name: str, inputs: int) -> nn.Sequential:
    return nn.Sequential(
        module(weights, f"{name}.in", nn.Linear(inputs, WIDTH)),
        nn.GELU(),
        module(weights, f"{name}.out", nn.Linear(WIDTH, WIDTH)),
        module(weights, f"{name}.norm", nn.LayerNorm(WIDTH, eps=1e-6)),
    )


def by_steps(weights: dict[str, Tensor], tokens: TowerTokens, h: Tensor, window: int) -> Tensor:
    """Steps 1 to 5, a window at a time."""
    assert tokens.layers is not None
    grid, x = tokens.grid, tokens.values.double()
    t = module(weights, "question_norm", nn.LayerNorm(WIDTH, eps=1e-6))(
        module(weights, "question", nn.Linear(LANGUAGE, WIDTH))(h.double())
    )
    queries = mlp(weights, "query", WIDTH)(x + t)
    keys = mlp(weights, "key", 4 * WIDTH)(tokens.layers.double())
    values = mlp(weights, "value", 4 * WIDTH)(tokens.layers.double())
    attention = nn.MultiheadAttention(WIDTH, 8, batch_first=True).double()
    stacked = ("q", "k", "v")
    attention.in_proj_weight.data = torch.cat(
        [weights[f"attention.{part}.weight"].double() for part in stacked]
    )
    attention.in_proj_bias.data = torch.cat(
        [weights[f"attention.{part}.bias"].double() for part in stacked]
    )
    attention.out_proj.weight.data = weights["attention.out.weight"].double()
    attention.out_proj.bias.data = weights["attention.out.bias"].double()
    kernel = weights["convolution.weight"].double()
    out = []
    for top in range(0, grid.rows, window):
        for left in range(0, grid.cols, window):
            query = weights["convolution.bias"].double().clone()
            cells = []
            for down in range(window):
                for right in range(window):
                    cell = (top + down) * grid.cols + left + right
                    query = query + kernel[:, 0, down, right] * queries[cell]
                    cells.append(cell)
            made, _ = attention(query[None, None], keys[cells][None], values[cells][None])
            out.append(made[0, 0])
    return torch.stack(out)


@pytest.mark.parametrize(
    ("grid", "keep", "window"),
    [
        (Grid(rows=6, cols=6), 0.25, 2),
        (Grid(rows=6, cols=6), 0.12, 3),
        (Grid(rows=6, cols=6), 0.05, 6),
        (Grid(rows=6, cols=6), 0.01, 6),
        (Grid(rows=4, cols=6), 0.5, 2),
        (Grid(rows=5, cols=5), 0.9, 5),
    ],
)
def test_windows_are_compressed_as_the_steps_say(grid: Grid, keep: float, window: int) -> None:
    known, options = known_of(grid), QueccOptions(keep=keep)
    for seed in range(2):
        tokens, h = drawn(seed, grid)
        weights = rough(QueccCompressor.fresh_weights(options, known, seed), seed)
        method = QueccCompressor(options, known, weights)
        seen = method.on_vision(tokens, h)
        with torch.no_grad():
            wanted = by_steps(weights, tokens, h, window)
        torch.testing.assert_close(seen.values.double(), wanted, atol=1e-5, rtol=1e-4)
        middles = [
            (top + window // 2) * grid.cols + left + window // 2
            for top in range(0, grid.rows, window)
            for left in range(0, grid.cols, window)
        ]
        assert seen.token.tolist() == middles
        assert seen.size.tolist() == [window**2] * len(middles)
        counts = method.schedule(3, grid.num_tokens, 1)
        assert {each.cached for each in counts} == {4 + len(middles)}


def test_a_residual_adds_the_mean_of_the_window() -> None:
    grid, options = Grid(rows=4, cols=4), QueccOptions(keep=0.25)
    tokens, h = drawn(0, grid)
    weights = QueccCompressor.fresh_weights(options, known_of(grid), 0)
    assert tokens.layers is not None
    given = (tokens.values[None], tokens.layers[None], h[None])
    plain = compress(weights, grid, *given)
    added = compress(weights, grid, *given, residual=True) - plain
    cells = tokens.values[[0, 1, 4, 5]].mean(dim=0)
    torch.testing.assert_close(added[0, 0], cells, atol=1e-5, rtol=1e-5)


def test_it_learns_and_hears_the_question() -> None:
    grid, options = Grid(rows=4, cols=4), QueccOptions(keep=0.25)
    tokens, h = drawn(0, grid)
    weights = QueccCompressor.fresh_weights(options, known_of(grid), 0)
    again = QueccCompressor.fresh_weights(options, known_of(grid), 0)
    assert all(torch.equal(value, again[name]) for name, value in weights.items())
    for value in weights.values():
        value.requires_grad_(True)
    method = QueccCompressor(options, known_of(grid), weights)
    seen = method.on_vision(tokens, h).values
    (seen**2).sum().backward()
    # A key's bias raises all logits of a query alike, and says nothing.
    quiet = {"attention.k.bias", "key.norm.bias"}
    for name, value in weights.items():
        assert value.grad is not None, name
        if name not in quiet:
            assert float(value.grad.abs().max()) > 1e-9, name
    other = method.on_vision(tokens, h + 1).values
    assert float((other - seen).detach().abs().max()) > 1e-4


def test_grids_without_such_windows_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"7 x 10 .* set `keep` to one of 1, or"):
        window_of(Grid(rows=7, cols=10), 0.5)
    with pytest.raises(ConfigError, match=r"4 x 6 .* to one of 1, 0.25, or"):
        window_of(Grid(rows=4, cols=6), 0.1)
    with pytest.raises(ConfigError, match="3 frames"):
        window_of(Grid(frames=3, rows=4, cols=4), 0.25)
    assert window_of(Grid(frames=3, rows=4, cols=4), 1.0) == 1


def test_a_real_model_and_weights_that_do_not_fit(tmp_path: Path) -> None:
    model = loaded("llava", tmp_path)
    image, known = picture_for(model), facts_of(model)
    options = QueccOptions(keep=0.25)
    weights = QueccCompressor.fresh_weights(options, known, 0)
    seen = look(model, QueccCompressor(options, known, weights), image, QUESTION).tokens
    assert seen.values.shape == (4, 32)
    assert torch.isfinite(model.project(seen.values[None])).all()
    whole = look(model, QueccCompressor(QueccOptions(keep=1.0), known), image, QUESTION).tokens
    assert torch.equal(whole.values, model.encode([image])[0])
    with pytest.raises(ConfigError, match="train-compressor quecc"):
        look(model, QueccCompressor(options, known), image, QUESTION)
    with pytest.raises(ConfigError, match=r"convolution\.weight is \(32, 1, 2, 2\)"):
        other = QueccCompressor(QueccOptions(keep=0.1), known, weights)
        look(model, other, image, QUESTION)
