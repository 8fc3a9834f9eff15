"""The arrays that `scores` are computed from, under torch.

The caller holds the model for itself (dropout hooks and the attention implementation are state of
the whole module tree) and has turned gradients off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftline_device.runtime.scores import Floats
from driftline_shared.dropout import DropoutMasks
from driftline_shared.models.adapters.slots import dropout_passes
from driftline_shared.models.multimodal import LmBatch, MultimodalModel, answer_places
from driftline_shared.pair.export_file import middle_third
from driftline_shared.tokens import VisualTokens


@dataclass(frozen=True, kw_only=True)
class TorchPasses:
    """`Passes` of one answer with token `ids` (n,), dropout at `rate` from `seed`."""

    model: MultimodalModel
    tokens: VisualTokens
    question: str
    ids: Sequence[int]
    num_passes: int
    rate: float
    seed: int

    @property
    def vocabulary(self) -> int:
        """Width of the logits."""
        return self.model.vocab_size

    def projected(self) -> Floats:
        """See `Passes`."""
        with self._dropout():
            return _array(self._project(self.num_passes))

    def token_logits(self, projected: Floats) -> Floats:
        """See `Passes`."""
        whole: Any = self.model.model
        embeddings = whole.get_input_embeddings()
        tokens = torch.from_numpy(projected[..., : embeddings.embedding_dim])
        hidden = whole.get_decoder().norm(tokens.to(self.model.device, embeddings.weight.dtype))
        return _array(whole.get_output_embeddings()(hidden))

    def answer_logits(self) -> Floats:
        """See `Passes`; the K passes are one batch."""
        with self._dropout():
            return _array(self._logits(self._batch(self._project(self.num_passes))))

    def answer_attention(self) -> tuple[Floats, Floats]:
        """See `Passes`."""
        batch = self._batch(self._project(1))
        steps, visual = answer_places(batch)[0].nonzero()[:, 0], batch.visual[0]
        layers: list[Floats] = []

        def keep(weights: Tensor) -> None:  # (1, H, T, T)
            layers.append(_array(weights[0][:, steps][:, :, visual]))

        with _attention(self.model, middle_third, keep):
            logits = self._logits(batch)[0]
        return _array(logits), np.stack(layers)

    def question_attention(self) -> Floats:
        """See `Passes`."""
        batch = self._batch(self._project(1), answered=False)
        assert batch.words is not None, "a family's batch says where its words are"
        words, visual = batch.words[0].nonzero()[:, 0], batch.visual[0]
        layers: list[Floats] = []

        def keep(weights: Tensor) -> None:  # (1, H, T, T)
            layers.append(_array(weights[0][:, words][:, :, visual].amax(dim=(0, 1))))

        last = torch.zeros_like(batch.attention_mask, dtype=torch.bool)
        last[:, -1] = True
        with _attention(self.model, range, keep):
            self.model.forward(batch, last)
        return np.stack(layers)

    @contextmanager
    def _dropout(self) -> Iterator[None]:
        """Dropout active inside, drawn from the seed; no global generator is touched."""
        with dropout_passes(self.model.model, DropoutMasks(rate=self.rate, seed=self.seed)):
            yield

    def _project(self, rows: int) -> Tensor:
        values = torch.tensor(self.tokens.values, device=self.model.device)
        return self.model.project(values[None].expand(rows, -1, -1))

    def _batch(self, projected: Tensor, *, answered: bool = True) -> LmBatch:
        """The question as often as `projected` (K, V, D) has rows, with its answer forced or as it
        was asked.
        """
        rows = projected.shape[0]
        answers = [self.ids] * rows if answered else None
        positions = torch.tensor(self.tokens.positions, dtype=torch.long)[None].expand(rows, -1)
        return self.model.batch(projected, positions, [self.question] * rows, answers)

    def _logits(self, batch: LmBatch) -> Tensor:
        """(B, n, vocabulary) at the answer steps."""
        logits = self.model.forward(batch, answer_places(batch)).logits
        # Rows are equally long, so end to end is row by row.
        return logits.reshape(len(batch.labels), -1, logits.shape[-1])


@contextmanager
def _attention(
    model: MultimodalModel, layers_of: Callable[[int], range], keep: Callable[[Tensor], None]
) -> Iterator[None]:
    """Inside, `keep` gets the attention weights (B, H, T, T) of each layer that `layers_of` the
    number of layers names, as it runs.

    Only the eager implementation has weights to give. They are handed on layer by layer and freed,
    where `output_attentions` would hold those of all layers at once.
    """
    whole: Any = model.model
    decoder = whole.get_decoder()
    usual = decoder.config._attn_implementation

    def hook(_module: object, _inputs: object, output: tuple[Tensor, Tensor]) -> None:
        keep(output[1])

    handles = [
        decoder.layers[index].self_attn.register_forward_hook(hook)
        for index in layers_of(len(decoder.layers))
    ]
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(usual)
        for handle in handles:
            handle.remove()


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().float().cpu().numpy()
