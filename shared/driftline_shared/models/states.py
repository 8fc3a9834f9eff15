"""The hidden state that a P(IK) head reads, taken from the pass that answers anyway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.callbacks import ignore
from driftline_shared.errors import DriftlineError
from driftline_shared.models.compression.compressed_model import CompressedModel
from driftline_shared.models.multimodal import MultimodalModel


class PromptStates:
    """What goes into the final norm: of the prompts of one batch, at their last place."""

    def __init__(self) -> None:
        self._newest: Tensor | None = None
        self._rows: list[Tensor] = []

    def take(self, _module: object, inputs: tuple[Tensor, ...]) -> None:
        """A hook before the final norm. Passes over one place are those of the answer."""
        if self._newest is None or inputs[0].shape[-2] > 1:
            self._newest = inputs[0][..., -1, :].detach()

    def end_row(self) -> None:
        """A prompt has been read whole, where they are read one by one."""
        if self._newest is not None:
            self._rows.append(self._newest.reshape(1, -1))
        self._newest = None

    def array(self) -> NDArray[np.float32]:
        """(B, D) float32."""
        rows = self._rows or [one for one in (self._newest,) if one is not None]
        if not rows:
            raise DriftlineError("the language model gave no hidden state: nothing was generated")
        return torch.cat(rows).float().cpu().numpy()


@contextmanager
def prompt_states(model: MultimodalModel) -> Iterator[PromptStates]:
    """Inside, one batch of prompts, padded on the left, is answered; then its states are there."""
    whole: Any = model.model
    states = PromptStates()
    handle = whole.get_decoder().norm.register_forward_pre_hook(states.take)
    if isinstance(model, CompressedModel):
        model.after_prompt = states.end_row
    try:
        yield states
    finally:
        handle.remove()
        if isinstance(model, CompressedModel):
            model.after_prompt = ignore
