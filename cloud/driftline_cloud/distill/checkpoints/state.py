"""What a training holds between two steps, taken out as arrays and JSON and put back in place.

Put back, it goes on to the same bits as one that was never cut off: weights, Adam's moments, the
alignments, the mean, the chosen weights, what is left to draw and the generators' states are all of
it. What follows from the job alone (what the teacher is seen to do) is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from driftline_cloud.distill.averaging import RunningMean
from driftline_cloud.distill.examples import IndexSampler, Strata
from driftline_shared.errors import DataError

Array = np.ndarray[Any, Any]

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of each parameter."""


@dataclass(frozen=True, kw_only=True)
class Moving:
    """The parts of a training that change from step to step; `parameters` with the alignments."""

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    mean: RunningMean
    fresh: IndexSampler
    memory: Strata


def taken(moving: Moving) -> tuple[dict[str, Any], dict[str, Array]]:
    """(what JSON holds, arrays) of all parts as they are now; the arrays are copies."""
    arrays = {f"weight.{name}": _array(one) for name, one in moving.parameters.items()}
    for name, parameter in moving.parameters.items():
        held = moving.optimizer.state.get(parameter)
        if held:
            arrays |= {f"{kind}.{name}": _array(held[kind]) for kind in _MOMENTS}
    count, mean = moving.mean.state()
    arrays |= {f"mean.{name}": _array(one) for name, one in mean.items()}
    arrays |= {f"generator.{name}": _array(one) for name, one in _generators().items()}
    state = {"mean": count, "fresh": moving.fresh.state(), "memory": moving.memory.state()}
    return state, arrays


def put_back(moving: Moving, state: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Set all parts to what `taken` gave. Raises DataError, and changes nothing, where that belongs
    to another model.
    """
    weights = {
        name: _like(arrays, f"weight.{name}", one) for name, one in moving.parameters.items()
    }
    moments: dict[str, dict[str, Tensor]] = {}
    for name, parameter in moving.parameters.items():
        if f"step.{name}" in arrays:
            likes = (torch.zeros(()), parameter, parameter)
            moments[name] = {
                kind: _like(arrays, f"{kind}.{name}", like)
                for kind, like in zip(_MOMENTS, likes, strict=True)
            }
    mean = {
        name: _like(arrays, f"mean.{name}", one)
        for name, one in moving.parameters.items()
        if f"mean.{name}" in arrays
    }
    generators = {
        name: _like(arrays, f"generator.{name}", one) for name, one in _generators().items()
    }
    before = moving.fresh.state(), moving.memory.state()
    try:
        moving.fresh.put_back(state["fresh"])
        moving.memory.put_back(state["memory"])
        moving.mean.put_back(int(state["mean"]), mean)
    except (KeyError, TypeError, ValueError) as error:
        moving.fresh.put_back(before[0])
        moving.memory.put_back(before[1])
        raise DataError(f"its state is another training's: {error}") from error
    with torch.no_grad():
        for name, parameter in moving.parameters.items():
            parameter.copy_(weights[name])
            if name in moments:
                moving.optimizer.state[parameter] = moments[name]
    torch.set_rng_state(generators["cpu"])
    if "cuda" in generators:
        torch.cuda.set_rng_state(generators["cuda"])


def _generators() -> dict[str, Tensor]:
    found = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def _array(tensor: Tensor) -> Array:
    found: Array = tensor.detach().cpu().numpy().copy()
    return found


def _like(arrays: Mapping[str, Array], name: str, like: Tensor) -> Tensor:
    """The array of that name in torch's own memory, on the device of `like`."""
    array = arrays.get(name)
    expected = torch.empty((), dtype=like.dtype).numpy().dtype
    if array is None or array.shape != tuple(like.shape) or array.dtype != expected:
        raise DataError(f"{name} is not there, or of another shape or type")
    return torch.tensor(array, device=like.device)
