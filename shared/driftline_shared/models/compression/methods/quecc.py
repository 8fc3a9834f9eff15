"""QueCC: each window of the picture becomes one token, by attention that the question steers.

Li et al. (arXiv 2411.03312), section 3, as the public code computes it. V tokens X of a grid of
R x C, windows of w x w, h the language model's last hidden state of the question alone:

    X' = X + LN(W_t h)
    Q  = conv(LN(W_2 GELU(W_1 X')))              depth-wise, w x w, stride w: R/w x C/w queries
    K, U = LN(W_2 GELU(W_1 X+)), each its own    X+: hidden states of several layers, side by side
    Y  = W_o [softmax(q_h k_h^T / sqrt(d_h)) u_h over heads h]
                                                 each query sees the w^2 keys of its window alone

and Y goes to the projector as tokens do. A token stands in the place of its window's middle cell.
`keep` chooses the smallest window that leaves round(keep V) tokens or fewer; at 1 tokens pass
unchanged. `residual` adds the window's mean to Y. The paper has no such term: it trains projector
and language model with the compressor, whereas a residual serves a projector that stays as it is.

What to train: the tensors of `fresh_weights`, through `compress`, on the cross-entropy of answers,
with the `keep` that will be served (its window is in their shapes); tower and question state need
no gradient. The paper trains the projector at the same rate of 1e-3 first, then the language model,
too, at 2e-5, one epoch each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import (
    ModelFacts,
    Options,
    TokenCompressor,
    kept_count,
)
from driftline_shared.models.compression.rows.rows import TowerTokens
from driftline_shared.models.compression.tower import LAYER_SHARES
from driftline_shared.tokens import Grid

MAX_HEADS = 8

EPSILON = 1e-6
"""Of the layer norms LN, as the public code has it; torch's own default is 1e-5."""


class QueccOptions(Options):
    """`keep`: most tokens that are left, as a share; by default 36 of 576, the windows of 4 x 4 of
    the paper's scripts. See above for `residual`.
    """

    keep: float = Field(default=1 / 16, gt=0.0, le=1.0)
    residual: bool = False


class QueccCompressor(TokenCompressor):
    """Compresses tower tokens window by window."""

    needs = frozenset({"layers", "question", "weights"})
    options: QueccOptions

    def __init__(self, *rest: Any) -> None:
        super().__init__(*rest)
        self._window = window_of(self.facts.grid, self.options.keep)

    @classmethod
    def fresh_weights(cls, options: Any, facts: ModelFacts, seed: int) -> dict[str, Tensor]:
        """See the file for what they are; linear layers are uniform in +-1 / sqrt(inputs), and
        the convolution begins as a mean. {} where nothing is compressed.
        """
        window = window_of(facts.grid, options.keep)
        if window == 1:
            return {}
        drawn = torch.Generator().manual_seed(seed)
        width, weights = facts.tower_width, {}

        def linear(name: str, inputs: int) -> None:
            bound = 1 / math.sqrt(inputs)
            for part, shape in (("weight", (width, inputs)), ("bias", (width,))):
                weights[f"{name}.{part}"] = (2 * torch.rand(shape, generator=drawn) - 1) * bound

        def norm(name: str) -> None:
            weights[f"{name}.weight"] = torch.ones(width)
            weights[f"{name}.bias"] = torch.zeros(width)

        linear("question", facts.width)
        norm("question_norm")
        wide = width * len(LAYER_SHARES)
        for name, inputs in (("query", width), ("key", wide), ("value", wide)):
            linear(f"{name}.in", inputs)
            linear(f"{name}.out", width)
            norm(f"{name}.norm")
        for name in ("q", "k", "v", "out"):
            linear(f"attention.{name}", width)
        weights["convolution.weight"] = torch.full((width, 1, window, window), window**-2.0)
        weights["convolution.bias"] = torch.zeros(width)
        return weights

    def on_vision(self, tokens: TowerTokens, question: Tensor | None) -> TowerTokens:
        """One token a window. Raises ConfigError for weights that do not fit."""
        if self._window == 1:
            return tokens
        assert question is not None and tokens.layers is not None, "`needs` says so"
        self._check(tokens.values, tokens.layers, question)
        values = compress(
            self.weights,
            tokens.grid,
            tokens.values[None],
            tokens.layers[None],
            question[None],
            residual=self.options.residual,
        )[0]
        token = middles(tokens.grid, self._window).to(tokens.token.device)
        size = torch.full_like(tokens.size[: len(token)], self._window**2)
        return TowerTokens(values=values, token=token, size=size, grid=tokens.grid)

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """The windows' tokens in every layer."""
        return [num_visual // self._window**2] * self.facts.num_layers

    def _check(self, values: Tensor, layers: Tensor, question: Tensor) -> None:
        given = self.weights
        if not given:
            raise ConfigError(
                "compressor quecc has no trained weights: make them with "
                "`driftline lab train-compressor quecc --out DIR`"
            )
        wanted = {
            "convolution.weight": (values.shape[1], 1, self._window, self._window),
            "key.in.weight": (values.shape[1], layers.shape[1]),
            "question.weight": (values.shape[1], len(question)),
        }
        for name, shape in wanted.items():
            found = tuple(given[name].shape) if name in given else None
            if found != shape:
                raise ConfigError(
                    f"compressor quecc: {name} is {found}, and this model with keep = "
                    f"{self.options.keep} needs {shape}: train it for both, or set `keep` to that "
                    "of its training"
                )


def window_of(grid: Grid, keep: float) -> int:
    """Side of the smallest window that leaves round(keep V) tokens or fewer of a picture.

    Raises ConfigError where no window divides the grid so often.
    """
    budget = kept_count(keep, grid.num_tokens)
    if budget == grid.num_tokens:
        return 1
    common = math.gcd(grid.rows, grid.cols)
    windows = [side for side in range(2, common + 1) if common % side == 0]
    if grid.frames == 1:
        for side in windows:
            if grid.num_tokens // side**2 <= budget:
                return side
    shares = [f"{1 / side**2:.4g}" for side in [1, *windows]] if grid.frames == 1 else ["1"]
    raise ConfigError(
        f"compressor quecc cuts one picture into square windows; of {grid.frames} frames of "
        f"{grid.rows} x {grid.cols} tokens none leaves {budget} or fewer: set `keep` to one of "
        f"{', '.join(shares)}, or take another method"
    )


def middles(grid: Grid, window: int) -> Tensor:
    """(S,) int64 flat index of each window's middle cell, rising."""
    rows = torch.arange(window // 2, grid.rows, window)
    cols = torch.arange(window // 2, grid.cols, window)
    return (rows[:, None] * grid.cols + cols).flatten()


def compress(
    weights: Mapping[str, Tensor],
    grid: Grid,
    values: Tensor,
    layers: Tensor,
    question: Tensor,
    *,
    residual: bool = False,
) -> Tensor:
    """(B, S, D_v) tokens of B pictures; differentiable in everything.

    `values` (B, V, D_v) tower tokens, `layers` (B, V, m D_v), `question` (B, D); float32.
    """
    window, width = weights["convolution.weight"].shape[-1], values.shape[-1]
    asked = _norm(weights, "question_norm", _linear(weights, "question", question.float()))
    queries = _mlp(weights, "query", values + asked[:, None])
    map_of = queries.transpose(1, 2).unflatten(2, (grid.rows, grid.cols))
    pooled = F.conv2d(
        map_of,
        weights["convolution.weight"],
        weights["convolution.bias"],
        stride=window,
        groups=width,
    )
    pooled = pooled.flatten(2).transpose(1, 2)  # (B, S, D_v)
    heads = max(number for number in range(1, MAX_HEADS + 1) if width % number == 0)
    keys, seen = (
        _linear(weights, f"attention.{part}", _mlp(weights, name, layers))
        for part, name in (("k", "key"), ("v", "value"))
    )
    query = _linear(weights, "attention.q", pooled)[:, :, None]
    # Each window is a row of its own: (B, S, heads, tokens, D_v / heads).
    query, keys, seen = (
        part.unflatten(-1, (heads, -1)).transpose(2, 3)
        for part in (query, windows(keys, grid, window), windows(seen, grid, window))
    )
    mixed = F.scaled_dot_product_attention(query, keys, seen)[:, :, :, 0].flatten(2)
    made = _linear(weights, "attention.out", mixed)
    return made + windows(values, grid, window).mean(dim=2) if residual else made


def windows(values: Tensor, grid: Grid, window: int) -> Tensor:
    """(B, V, D) -> (B, S, window^2, D), both row by row."""
    across = (grid.rows // window, window, grid.cols // window, window)
    return values.unflatten(1, across).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _linear(weights: Mapping[str, Tensor], name: str, values: Tensor) -> Tensor:
    return F.linear(values, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(weights: Mapping[str, Tensor], name: str, values: Tensor) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return F.layer_norm(values, values.shape[-1:], weight, bias, EPSILON)


def _mlp(weights: Mapping[str, Tensor], name: str, values: Tensor) -> Tensor:
    inner = F.gelu(_linear(weights, f"{name}.in", values))
    return _norm(weights, f"{name}.norm", _linear(weights, f"{name}.out", inner))
