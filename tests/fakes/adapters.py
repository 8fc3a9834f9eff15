"""Adapters like LoRA's: many small matrices, one of each pair zero at version 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from driftline_cloud.intake.line import Line
from driftline_shared.tokens import Grid, TokenSpace
from driftline_shared.update import Adapter

LINE = Line(
    pair="tiny",
    pair_dir=Path("tiny"),
    base_model="ab" * 32,
    token_space=TokenSpace(
        digest="cd" * 32,
        grid=Grid(rows=1, cols=1),
        low=np.zeros(1, dtype=np.float32),
        high=np.ones(1, dtype=np.float32),
        mean=np.zeros(1, dtype=np.float32),
        precision=np.ones(1, dtype=np.float32),
    ),
)
"""A line whose adapters these are."""


def lora_adapter(num_layers: int = 4, width: int = 48, rank: int = 4) -> Adapter:
    """2 x `num_layers` tensors: A random, B zero, as at version 0."""
    rng = np.random.default_rng(7)
    adapter: dict[str, np.ndarray] = {}
    for layer in range(num_layers):
        a = rng.normal(size=(rank, width)) * 0.05
        adapter[f"layers.{layer}.q_proj.lora_A"] = a.astype(np.float32)
        adapter[f"layers.{layer}.q_proj.lora_B"] = np.zeros((width, rank), dtype=np.float32)
    return adapter


def trained(base: Adapter, seed: int, step: float = 3e-3) -> Adapter:
    """`base` after a round: every weight moved a little."""
    rng = np.random.default_rng(seed)
    return {
        name: (array + rng.normal(size=array.shape) * step).astype(np.float32)
        for name, array in base.items()
    }


def sqrt_fisher(base: Adapter, seed: int = 5) -> Adapter:
    """Importance as Adam leaves it: spread over orders of magnitude, between tensors and within."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.lognormal(0, 0.7) * rng.lognormal(0, 0.7, array.shape)).astype(np.float32)
        for name, array in base.items()
    }


def weighted_error(one: Adapter, other: Adapter, weights: Adapter) -> float:
    """Sum of w^2 (a - b)^2: what the gate's score loses, to second order."""
    return float(sum((weights[name] ** 2 * (one[name] - other[name]) ** 2).sum() for name in one))


def same_bits(one: Adapter, other: Adapter) -> bool:
    """Whether two adapters are equal to the last bit."""
    return one.keys() == other.keys() and all(
        one[name].tobytes() == other[name].tobytes() for name in one
    )
