"""What is looked at in each step of a generated answer: its scores, and the most likely tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftline_shared.models.multimodal import MultimodalModel


def step_scores(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B, vocabulary) -> chosen ids (B,) and (B, 3): top1, margin, normalised entropy."""
    log_p = torch.log_softmax(logits, dim=-1)
    p = log_p.exp()
    top = p.topk(2, dim=-1)
    entropy = -(p * log_p).sum(-1) / float(np.log(logits.shape[-1]))
    scores = torch.stack([top.values[:, 0], top.values[:, 0] - top.values[:, 1], entropy], dim=-1)
    return top.indices[:, 0], scores


class StepLogits:
    """(B, vocabulary) float32 logits of each step, as one batch is answered."""

    def __init__(self) -> None:
        self._steps: list[Tensor] = []

    def take(self, _module: object, _inputs: object, output: Tensor) -> None:
        """A hook behind the head."""
        self._steps.append(output.detach().reshape(-1, output.shape[-1]).float().cpu())

    def of_rows(self, lengths: list[int]) -> list[list[Tensor]]:
        """Of each row its steps' (vocabulary,) logits; `lengths`: its number of tokens.

        Rows are answered side by side, or one after the other.
        """
        steps = self._steps
        if not steps or steps[0].shape[0] == len(lengths) > 1 or len(lengths) == 1:
            return [[step[row] for step in steps[:n]] for row, n in enumerate(lengths)]
        rest = iter(steps)
        return [[next(rest)[0] for _ in range(n)] for n in lengths]


@contextmanager
def step_logits(model: MultimodalModel) -> Iterator[StepLogits]:
    """Inside, one batch is answered; then the logits of its steps are there."""
    whole: Any = model.model
    found = StepLogits()
    handle = whole.get_output_embeddings().register_forward_hook(found.take)
    try:
        yield found
    finally:
        handle.remove()
