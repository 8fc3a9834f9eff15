"""An inverter: a small decoder from some tokens of a picture to its pixels and what it shows.

Each kept token and its place are brought to H numbers; their mean is the context of all places; a
place's patch is decoded from the context, the place, and its own token where it is there. Two
linear heads on the context read the attributes. All is trained together on pictures of which the
attacker has everything, with the share of tokens that will be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

HIDDEN = 96
_RATE, _BATCH, _PROBE_WEIGHT = 3e-3, 48, 0.02


@dataclass(frozen=True, kw_only=True)
class Material:
    """N pictures: `tokens` (N, V, D), scaled to about unit size; `there` (N, V) bool, which were
    seen; `pixels` (N, V, P) in 0..1, patch by place; `attributes`: (N,) class each, -1 unknown.
    """

    tokens: Tensor
    there: Tensor
    pixels: Tensor
    attributes: dict[str, Tensor]

    def rows(self, chosen: Tensor) -> Material:
        """Some of the pictures."""
        return Material(
            tokens=self.tokens[chosen],
            there=self.there[chosen],
            pixels=self.pixels[chosen],
            attributes={name: one[chosen] for name, one in self.attributes.items()},
        )


class Inverter(nn.Module):
    """See the module. `num_classes`: of each attribute."""

    def __init__(self, width: int, places: int, patch: int, num_classes: dict[str, int]) -> None:
        super().__init__()
        self.token = nn.Linear(width, HIDDEN)
        self.place = nn.Parameter(0.1 * torch.randn(places, HIDDEN))
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU())
        self.last = nn.Linear(2 * HIDDEN, patch)
        self.patch = nn.Sequential(nn.Linear(3 * HIDDEN, 2 * HIDDEN), nn.GELU(), self.last)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(HIDDEN, number) for name, number in num_classes.items()}
        )

    def forward(self, seen: Material) -> tuple[Tensor, dict[str, Tensor]]:
        """Pixels (N, V, P), and logits of each attribute."""
        there = seen.there.unsqueeze(-1).float()
        own = self.token(seen.tokens) * there
        mixed = self.mix(own + self.place) * there
        context = mixed.sum(dim=1) / there.sum(dim=1).clamp(min=1.0)
        around = context.unsqueeze(1).expand_as(own)
        place = self.place.expand_as(own)
        pixels = self.patch(torch.cat([own, around, place], dim=-1))
        return pixels, {name: head(context) for name, head in self.heads.items()}


def train(known: Material, num_classes: dict[str, int], *, steps: int, seed: int) -> Inverter:
    """An inverter of `known` pictures."""
    torch.manual_seed(seed)
    num, places, width = known.tokens.shape
    model = Inverter(width, places, known.pixels.shape[-1], num_classes)
    with torch.no_grad():
        model.last.bias.copy_(known.pixels.mean(dim=(0, 1)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    drawn = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        some = known.rows(torch.randint(num, (_BATCH,), generator=drawn))
        pixels, logits = model(some)
        loss = nn.functional.mse_loss(pixels, some.pixels)
        for name, each in logits.items():
            wanted = some.attributes[name]
            if bool((wanted >= 0).any()):
                read = nn.functional.cross_entropy(each, wanted, ignore_index=-1)
                loss = loss + _PROBE_WEIGHT * read
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def measure(model: Inverter, seen: Material) -> dict[str, float]:
    """`psnr`: mean over pictures, dB; and the share of each attribute that is read."""
    pixels, logits = model(seen)
    found = {"psnr": _psnr(pixels, seen.pixels)}
    for name, each in logits.items():
        wanted = seen.attributes[name]
        known = wanted >= 0
        found[name] = float((each.argmax(dim=1) == wanted)[known].float().mean())
    return found


def without_tokens(known: Material, seen: Material) -> dict[str, float]:
    """Of somebody who sees no token: the mean picture, the commonest of each attribute."""
    mean = known.pixels.mean(dim=0, keepdim=True).expand_as(seen.pixels)
    found = {"psnr": _psnr(mean, seen.pixels)}
    for name, wanted in seen.attributes.items():
        guess = known.attributes[name][known.attributes[name] >= 0].mode().values
        found[name] = float((wanted[wanted >= 0] == guess).float().mean())
    return found


def _psnr(made: Tensor, true: Tensor) -> float:
    error = (made.clamp(0, 1) - true).square().mean(dim=(1, 2)).clamp(min=1e-10)
    return float((-10.0 * error.log10()).mean())
