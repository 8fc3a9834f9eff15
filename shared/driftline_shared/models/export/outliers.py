"""Which inputs of a linear layer are far larger than the rest, and stay out of rounding.

A language model carries a few channels that are tens of times its others (outlier features;
Dettmers et al., LLM.int8(), arXiv 2208.07339). Int8 gives a row one scale, so one such channel
takes the digits of all. They are the same channels for every picture and question, so they are
found once, at export, on the probe set:

    max over tokens |x_j|   the SHARE of a layer's inputs j for which it is largest
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

SHARE = 1 / 64
"""Of a layer's inputs."""

_MOST_ROWS = 16
"""Probe questions that are looked at: the channels hardly depend on them."""

Outliers = Mapping[str, tuple[int, ...]]
"""Path of a linear layer in the language model -> its outlier inputs, rising."""


def find_outliers(
    net: torch.nn.Module, runs: Sequence[Callable[[], Any]], *, head: torch.nn.Module | None = None
) -> dict[str, tuple[int, ...]]:
    """The outlier inputs of every linear layer of `net` that `runs` go through; those of `head`,
    which is not in it, as "head".
    """
    further = {} if head is None else {"head": head}
    largest: dict[str, NDArray[np.float32]] = {}
    with ExitStack() as stack, torch.no_grad():
        for path, module in (*net.named_modules(), *further.items()):
            if isinstance(module, torch.nn.Linear):
                stack.callback(module.register_forward_pre_hook(_watching(path, largest)).remove)
        for run in runs[:_MOST_ROWS]:
            run()
    return {path: largest_inputs(sizes) for path, sizes in largest.items()}


def largest_inputs(sizes: NDArray[np.float32]) -> tuple[int, ...]:
    """Places of the largest `SHARE` of `sizes` (D,), at least one, rising; equal ones by place."""
    count = max(1, round(SHARE * len(sizes)))
    order = np.argsort(-sizes, kind="stable")
    return tuple(sorted(int(place) for place in order[:count]))


def _watching(path: str, largest: dict[str, NDArray[np.float32]]) -> Callable[[Any, Any], None]:
    def watch(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0]
        sizes = x.reshape(-1, x.shape[-1]).abs().amax(dim=0).float().cpu().numpy()
        largest[path] = np.maximum(largest[path], sizes) if path in largest else sizes

    return watch
