"""The mean of a training's last weights: a better and steadier candidate than the last ones.

A run of few steps at a rate that does not go to nothing ends at one point of a region it wanders
in; their mean lies nearer its middle (Izmailov et al., arXiv 1803.05407).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class RunningMean:
    """Mean of `parameters` over the moments at which it was taken, float32 like them."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = parameters
        self._mean: dict[str, Tensor] = {}
        self._count = 0

    @torch.no_grad()
    def take(self) -> None:
        """The parameters as they are now count once."""
        self._count += 1
        for name, parameter in self._parameters.items():
            mean = self._mean.setdefault(name, torch.zeros_like(parameter))
            mean += (parameter - mean) / self._count

    @torch.no_grad()
    def put(self) -> None:
        """Set the parameters to their mean; nothing happens where none was taken."""
        if self._count:
            for name, parameter in self._parameters.items():
                parameter.copy_(self._mean[name])

    def state(self) -> tuple[int, Mapping[str, Tensor]]:
        """(how often it was taken, the mean), as `put_back` takes them."""
        return self._count, self._mean

    def put_back(self, count: int, mean: Mapping[str, Tensor]) -> None:
        """Go on from a `state`; ValueError where it is none of these parameters."""
        if count < 0 or (mean.keys() != self._parameters.keys() if count else mean):
            raise ValueError("the mean is of other parameters")
        self._count, self._mean = count, dict(mean)
