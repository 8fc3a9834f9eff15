"""VideoLLM-MoD: chosen layers compute a few visual tokens of each frame; the rest pass them by.

In a MoD layer with block f, for each frame with visual states X (V, d):

    mu = X w,   S = the k = max(1, round(keep V)) largest of mu
    x_i <- x_i + g(mu_i) (f(x) - x)_i   for visual i in S
    x_i <- x_i + (f(x) - x)_i           for text and separators
    x_i <- x_i                          for other visual tokens

f runs over the gathered places only, with their own positions, so such a layer holds keys of those
only. The gate g brings a gradient to the router w. Choosing within a frame looks at nothing that
comes later, so it holds for a stream, too.

Source: VideoLLM-MoD (arXiv 2408.16730), section 3.2, whose code was never released; formulas as
reconstructed from it and from Mixture-of-Depths (arXiv 2404.02258, section 3). Every other layer is
a MoD layer, which the paper found best ("interleaved"): 0.6 of the cache at keep = 0.2, and .585 of
FLOPs as published. Our own: a bias of the gate, and that the *first* of each two is the MoD layer,
because the last layer's router has no gradient: nothing reads what it makes of a visual token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import (
    ModelFacts,
    Need,
    Options,
    Route,
    TokenCompressor,
    kept_count,
)
from driftline_shared.models.compression.rows.rows import TokenRow

Gate = Literal["sigmoid", "identity"]

OPEN = 4.0
"""Bias of a fresh sigmoid gate: 0.98 of a change passes, so that training starts from the model as
it was.
"""


class ModOptions(Options):
    """`keep`: share of each frame's tokens that a MoD layer computes (the paper's rho, 0.2).

    `layers`: which are MoD layers; None: 0, 2, 4, ..., the last layer excepted. `gate`: g, with the
    bias b of the layer: `sigmoid`, g = sigmoid(mu + b), or `identity`, g = mu + b.
    """

    keep: float = Field(default=0.2, gt=0.0, le=1.0)
    layers: tuple[int, ...] | None = None
    gate: Gate = "sigmoid"

    def chosen_layers(self, num_layers: int) -> tuple[int, ...]:
        """The MoD layers, rising. Raises ConfigError for one that the model does not have."""
        if self.layers is None:
            return default_layers(num_layers)
        wrong = [layer for layer in self.layers if not 0 <= layer < num_layers]
        if wrong:
            raise ConfigError(
                f"compressor mod: layers names {wrong}, the model has layers 0..{num_layers - 1}"
            )
        return tuple(sorted(set(self.layers)))


class ModCompressor(TokenCompressor):
    """Routes visual tokens round MoD layers.

    `weights`: for each MoD layer l `router.l` (D,) and `bias.l` (1,). Raises ConfigError where
    those of a layer are missing.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    @classmethod
    def fresh_weights(cls, options: ModOptions, facts: ModelFacts, seed: int) -> dict[str, Tensor]:
        """Small random routers (0.02), so that no two tokens tie, behind open gates."""
        random = torch.Generator().manual_seed(seed)
        bias = OPEN if options.gate == "sigmoid" else 1.0
        weights: dict[str, Tensor] = {}
        for layer in options.chosen_layers(facts.num_layers):
            weights[f"router.{layer}"] = 0.02 * torch.randn(facts.width, generator=random)
            weights[f"bias.{layer}"] = torch.full((1,), bias)
        return weights

    def route(self, layer: int, row: TokenRow) -> Route | None:
        """The k best visual places of each frame and all that is not visual."""
        if not self._routes(layer):
            return None
        router, bias = layer_weights(self.weights, layer)
        visual, frame = row.visual, row.frame
        scores = row.states[visual].float() @ router.float()
        best = []
        for number in frame.unique():
            of_frame = (frame == number).nonzero()[:, 0]
            best.append(of_frame[best_places(scores[of_frame], self.options.keep)])
        places = row.places_with(torch.cat(best) if best else visual)
        passed = gate(scores, bias.float(), self.options.gate).to(row.states.dtype)
        gates = row.states.new_ones(len(row)).index_copy(0, visual, passed)
        return Route(places=places, gate=gates[places])

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """F k in MoD layers, V elsewhere, the V tokens lying evenly in F frames."""
        frames = self.facts.grid.frames
        whole, rest = divmod(num_visual, frames)
        sizes = [whole + (number < rest) for number in range(frames)]
        routed = sum(self.num_kept(size) for size in sizes)
        layers = range(self.facts.num_layers)
        return [routed if self._routes(layer) else num_visual for layer in layers]

    def _routes(self, layer: int) -> bool:
        layers = self.options.chosen_layers(self.facts.num_layers)
        return bool(self.options.keep < 1.0 and layer in layers)


def default_layers(num_layers: int) -> tuple[int, ...]:
    """Every other layer from the first on, without the last one of several."""
    return tuple(range(0, max(1, num_layers - 1), 2))


def layer_weights(weights: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
    """Router (D,) and bias (1,) of a layer. Raises ConfigError where they are missing."""
    if f"router.{layer}" not in weights or f"bias.{layer}" not in weights:
        known = sorted(name for name in weights if name.startswith("router."))
        raise ConfigError(
            f"compressor mod has no trained router of layer {layer} (there are {known}): "
            "compressor.mod.safetensors beside the student's checkpoint is missing or was trained "
            "for other layers; `driftline lab train-compressor mod --out DIR` makes a pair that "
            "has it"
        )
    return weights[f"router.{layer}"], weights[f"bias.{layer}"]


def best_places(scores: Tensor, keep: float) -> Tensor:
    """(..., V) scores -> (..., k) int64 rising: the k largest, the earlier of equal ones."""
    number = kept_count(keep, scores.shape[-1])
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    return order[..., :number].sort(dim=-1).values


def gate(scores: Tensor, bias: Tensor, kind: Gate) -> Tensor:
    """Share of a layer's change that each token takes."""
    return (scores + bias).sigmoid() if kind == "sigmoid" else scores + bias
