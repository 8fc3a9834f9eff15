"""Where VTW withdraws the image, chosen on a few samples.

K is chosen on a few samples: the smallest at which the first token's distribution stays near that
of the whole model,

    K = min {k : mean over samples of KL(softmax(z_k) || softmax(z)) <= eta}

with z_k the logits of the last place when the image leaves at k. Where the image leaves at k, the
layers below have seen all of it: so one run of the whole row gives the input of every layer, and
each k only runs its text through the layers from k on. The public code runs the whole model anew
for each k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.rows.key_values import RowCache
from driftline_shared.models.compression.rows.rows import TokenRow

ETA = 0.003
"""The public code's bound for LLaVA-1.5-7B, and for models that it does not know."""

FIRST_SHARE = 5 / 32
"""Depth from which on K is looked for: layer 5 of LLaVA-1.5-7B's 32."""


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """Where the image may leave: `layer` is K; `divergence` says the mean KL (nats) of each k that
    was tried, by layer.
    """

    layer: int
    divergence: dict[int, float]


@torch.no_grad()
def calibrated(
    decoder: Decoder,
    head: Callable[[Tensor], Tensor],
    rows: Sequence[TokenRow],
    *,
    eta: float = ETA,
    first: int | None = None,
    renumber: bool = False,
) -> Withdrawal:
    """Choose K on prompts; about 20 are enough.

    `head`: last hidden states (1, D) -> logits (1, vocabulary). `first`: the smallest K to try.
    Raises ConfigError where no K meets `eta`, or there is no row or no layer to try.
    """
    num = decoder.num_layers
    start = max(1, round(FIRST_SHARE * num)) if first is None else first
    if not rows or not 1 <= start < num:
        raise ConfigError(
            f"compressor vtw is calibrated on at least one prompt and layers 1..{num - 1}; given "
            f"are {len(rows)} prompts and layers from {start}"
        )
    total = torch.zeros(num - start, dtype=torch.float64)
    for row in rows:
        total += _divergences(decoder, head, row, start, renumber=renumber).cpu()
    mean = dict(zip(range(start, num), (total / len(rows)).tolist(), strict=True))
    for layer, divergence in mean.items():
        if divergence <= eta:
            return Withdrawal(layer=layer, divergence=mean)
    best = min(mean, key=mean.__getitem__)
    raise ConfigError(
        f"compressor vtw: wherever the image is withdrawn, the answer changes by more than eta = "
        f"{eta:g}; layer {best} comes closest with a mean KL of {mean[best]:.3g}: raise eta, or "
        "take another method"
    )


def _divergences(
    decoder: Decoder,
    head: Callable[[Tensor], Tensor],
    row: TokenRow,
    start: int,
    *,
    renumber: bool,
) -> Tensor:
    """(L - start,) float64 KL of withdrawal at start, start + 1, .. for one prompt."""
    text, num = row.text, decoder.num_layers
    short = row.take(text)
    short = short.renumbered() if renumber else short
    rotary = decoder.rotary(row.states, row.positions)
    inputs, cache = [], RowCache(num)
    for layer in range(num):
        inputs.append(row.states[text])
        row = row.behind_layer(decoder.run(layer, row.states, rotary, cache))
    wanted = _log_p(decoder, head, row.states)
    rotary = decoder.rotary(short.states, short.positions)
    found = []
    for first in range(start, num):
        states, cache = inputs[first], RowCache(num)
        for layer in range(first, num):
            states = decoder.run(layer, states, rotary, cache)
        got = _log_p(decoder, head, states)
        found.append((got.exp() * (got - wanted)).sum())
    return torch.stack(found)


def _log_p(decoder: Decoder, head: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """(vocabulary,) float64 log probabilities behind the last place."""
    return head(decoder.norm(states[-1:]))[0].double().log_softmax(-1)
