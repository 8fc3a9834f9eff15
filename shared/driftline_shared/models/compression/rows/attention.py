"""A few rows of a layer's attention, beside the fused kernel that never tells its own.

    A[r, j] = mean over heads of softmax_j(q_r . k_j / sqrt(d_h)),   j not behind r

q from the layer's own projection of its input and its own rotary positions, k as the layer has
cached them. Costs 2 R n D multiply-adds and no second run of the layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines of n places, each (n, head width)."""


def attention_rows(
    layer: Any, states: Tensor, rotary: Rotary, keys: Tensor, rows: Tensor
) -> Tensor:
    """(R, n) float32 attention of the places `rows` (R,) of `states` (n', D), mean over heads.

    `states`, `rotary`: at the input of `layer`, n' places. `keys` (key heads, n, head width) with
    rotary, of which the last n' are those of `states`; all before are seen by every row.
    """
    attention = layer.self_attn
    cos, sin = rotary[0][rows], rotary[1][rows]
    queries = _heads(attention, "q", layer.input_layernorm(states[rows]))  # (H, R, d_h)
    queries = queries * cos + _turned(queries) * sin
    # Heads h share key head h // (H / key heads).
    shared = queries.unflatten(0, (keys.shape[0], -1))  # (key heads, H / key heads, R, d_h)
    scores = torch.einsum("kgrd,knd->kgrn", shared, keys).float() * attention.scaling
    num = keys.shape[1]
    last = rows + (num - len(states))
    behind = torch.arange(num, device=rows.device) > last[:, None]  # (R, n)
    return scores.masked_fill(behind, float("-inf")).softmax(-1).mean(dim=(0, 1))


def keys_of(layer: Any, states: Tensor, rotary: Rotary) -> Tensor:
    """(key heads, n, head width) keys, with rotary, that `layer` makes of its input (n, D)."""
    keys = _heads(layer.self_attn, "k", layer.input_layernorm(states))
    return keys * rotary[0] + _turned(keys) * rotary[1]


def _heads(attention: Any, kind: str, normed: Tensor) -> Tensor:
    """(heads, n, head width) queries ("q") or keys ("k") without rotary, behind a norm of each head
    where the layer has one.
    """
    projected = getattr(attention, f"{kind}_proj")(normed)
    heads = projected.unflatten(-1, (-1, attention.head_dim))
    norm = getattr(attention, f"{kind}_norm", None)
    return (heads if norm is None else norm(heads)).transpose(0, 1)


def _turned(heads: Tensor) -> Tensor:
    """The rotary embedding's quarter turn: halves (a, b) become (-b, a)."""
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)
