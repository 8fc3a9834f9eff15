"""What a compression method is given, without a model: facts, rows, tokens of a tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.rows.rows import NONE, Kind, TokenRow, TowerTokens
from driftline_shared.tokens import Grid

T, V, S, E = (int(kind) for kind in (Kind.TEXT, Kind.VISUAL, Kind.SEPARATOR, Kind.EXTRA))


def some_facts(grid: Grid, **changes: int) -> ModelFacts:
    """Of a decoder with two heads of width 4."""
    known: dict[str, Any] = {
        "num_layers": 6,
        "num_heads": 2,
        "num_key_heads": 2,
        "head_width": 4,
        "width": 8,
        "inner": 16,
        "vocabulary": 32,
        "tower_width": 8,
    }
    return ModelFacts(**known | changes, grid=grid)


def clip_kinds(grid: Grid, before: int, behind: int, every: int | None = None) -> list[int]:
    """Text, all tokens of `grid` with a separator behind each `every` (else behind all), text."""
    parts = grid.num_tokens // (every or grid.num_tokens)
    image = ([V] * (grid.num_tokens // parts) + [S]) * parts
    return [T] * before + image + [T] * behind


def some_row(
    kinds: list[int],
    grid: Grid,
    *,
    width: int = 8,
    seed: int = 0,
    start: int = 0,
    tokens: Sequence[int] | None = None,
) -> TokenRow:
    """Random states, positions from `start`; `tokens`: the visual ones, all of `grid` if None."""
    kind = torch.tensor(kinds)
    token = torch.full_like(kind, NONE)
    token[kind == V] = torch.arange(kinds.count(V)) if tokens is None else torch.tensor(tokens)
    return TokenRow(
        states=torch.randn(len(kinds), width, generator=torch.Generator().manual_seed(seed)),
        kind=kind,
        token=token,
        positions=start + torch.arange(len(kinds))[None],
        grid=grid,
        origin=torch.arange(len(kinds)),
    )


def tower_tokens(values: Tensor, grid: Grid, **read: Tensor) -> TowerTokens:
    """All tokens of `grid`; `read`: what else was read of the tower."""
    num = len(values)
    return TowerTokens(
        values=values, token=torch.arange(num), size=torch.ones(num), grid=grid, **read
    )


def sizes_of(facts: ModelFacts) -> dict[str, Any]:
    """Of a decoder's configuration in transformers."""
    return {
        "vocab_size": facts.vocabulary,
        "hidden_size": facts.width,
        "intermediate_size": facts.inner,
        "num_hidden_layers": facts.num_layers,
        "num_attention_heads": facts.num_heads,
        "num_key_value_heads": facts.num_key_heads,
    }


def random_llama(facts: ModelFacts, seed: int, *, std: float = 0.3, qwen2: bool = False) -> Any:
    """A decoder as `facts` say, every weight drawn anew."""
    torch.manual_seed(seed)
    sizes = sizes_of(facts)
    model = Qwen2Model(Qwen2Config(**sizes)) if qwen2 else LlamaModel(LlamaConfig(**sizes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model.eval()
