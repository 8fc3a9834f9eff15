"""Late in training, only the weights that matter most go on; all others return to where they began.

An update can carry a fraction of the weights. Dropping the others after training loses what they
had learned; dropping them before its last part lets the kept ones take over. Which ones: the same
importance, |delta| * sqrt(Fisher), and the same water-filling as the release (algorithms.md,
section 3). Training chosen coordinates alone is AMS's idea (Khani et al., ICCV 2021), there with a
mask drawn before training.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.release.selection import importance_of, select_share
from driftline_shared.update import Adapter

Chosen = Mapping[str, NDArray[np.bool_]]


def subset_step(settings: DistilSettings, num_steps: int) -> int:
    """The step from which on some weights train alone, -1 where all train to the end.

    The second at the earliest: before the first nothing is more important than anything else.
    """
    if settings.trained_share >= 1.0:
        return -1
    return max(1, round(settings.dense_share * num_steps))


class Subset:
    """The chosen weights of one training, `share` (0..1) of all."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        start: Adapter,
        sqrt_fisher: Adapter,
        share: float,
    ) -> None:
        delta = {
            name: parameter.detach().cpu().numpy() - start[name]
            for name, parameter in parameters.items()
        }
        chosen = select_share(importance_of(delta, sqrt_fisher), share)
        self._set(parameters, start, chosen)

    @classmethod
    def of(cls, parameters: Mapping[str, nn.Parameter], start: Adapter, chosen: Chosen) -> Subset:
        """The weights that are `chosen` already: one bool each, in the parameters' shapes."""
        subset = cls.__new__(cls)
        subset._set(parameters, start, chosen)
        return subset

    @property
    def chosen(self) -> Chosen:
        """Which weights train on."""
        return {name: mask.cpu().numpy() for name, mask in self._masks.items()}

    def _set(self, parameters: Mapping[str, nn.Parameter], start: Adapter, chosen: Chosen) -> None:
        self._parameters = parameters
        self._masks: dict[str, Tensor] = {
            name: torch.tensor(chosen[name], device=parameter.device)
            for name, parameter in parameters.items()
        }
        self._start = start

    @torch.no_grad()
    def take_back(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the other weights back to the start, and forget their momentum."""
        for name, parameter in self._parameters.items():
            mask = self._masks[name]
            start = torch.from_numpy(self._start[name]).to(parameter.device, parameter.dtype)
            parameter.copy_(torch.where(mask, parameter, start))
            state = optimizer.state.get(parameter, {})
            if "exp_avg" in state:
                state["exp_avg"] *= mask

    def hold(self) -> None:
        """Clear the gradients of the other weights; to be called before each optimizer step, which
        moves them by weight decay alone.
        """
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                parameter.grad *= self._masks[name]
