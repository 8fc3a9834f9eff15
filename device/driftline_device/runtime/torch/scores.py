"""What the model can say about its own doubt: mutual information and the token scorers.

Letters: V visual tokens, K stochastic passes, n answer tokens, D width, H heads. The caller holds
the model for itself (dropout hooks and the attention implementation are state of the whole module
tree) and has turned gradients off. The vision tower is never run: everything starts from its
tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from driftline_shared.dropout import DropoutMasks
from driftline_shared.models.adapters.slots import dropout_passes
from driftline_shared.models.multimodal import LmBatch, MultimodalModel, answer_places

_CHUNK = 1 << 24
"""Most floats of one block of vocabulary logits (64 MiB)."""

_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Case:
    """One answered question: `tokens` (V, D_v), `positions` (V,) int64, answer `ids` (n,)."""

    tokens: Tensor
    positions: Tensor
    question: str
    ids: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """K stochastic passes: how many, at which rate, from which seed."""

    passes: int
    rate: float
    seed: int

    @contextmanager
    def on(self, model: MultimodalModel) -> Iterator[None]:
        """Dropout active inside, drawn from this seed; no global generator is touched."""
        with dropout_passes(model.model, DropoutMasks(rate=self.rate, seed=self.seed)):
            yield


def mutual_information(model: MultimodalModel, case: Case, dropout: Dropout) -> float:
    """BALD: mean over answer steps of [H(mean_k p_k) - mean_k H(p_k)] / log(vocabulary), >= 0.

    Houlsby et al., arXiv 1112.5745. Teacher-forced on the given answer; the K passes are one batch.
    """
    with dropout.on(model):
        batch = _batch(model, case, model.project(_repeat(case.tokens, dropout.passes)))
        log_p = _answer_log_p(model, batch)
    return max(0.0, float(_epistemic(log_p).mean())) / math.log(model.vocab_size)


def mc_dropout(model: MultimodalModel, case: Case, dropout: Dropout) -> Tensor:
    """(V,) variance over K passes of the projected token, summed over D, by |mean|^2."""
    with dropout.on(model):
        projected = model.project(_repeat(case.tokens, dropout.passes)).float()  # (K, V, D)
    variance = projected.var(dim=0, correction=0).sum(dim=-1)
    return variance / projected.mean(dim=0).square().sum(dim=-1).clamp_min(_TINY)


def vocabulary_entropy(model: MultimodalModel, case: Case, dropout: Dropout) -> Tensor:
    """(V,) H(mean_k p_k) - mean_k H(p_k), p_k = softmax(head(norm(projected token))), nats."""
    whole: Any = model.model
    norm, head = whole.get_decoder().norm, whole.get_output_embeddings()
    width = whole.get_input_embeddings().embedding_dim
    with dropout.on(model):
        projected = model.project(_repeat(case.tokens, dropout.passes))[..., :width]  # (K, V, D)
        # A vocabulary of 10^5 times 10^3 tokens does not fit a device: a few tokens at a time.
        step = max(1, _CHUNK // (dropout.passes * model.vocab_size))
        blocks = [
            _epistemic(head(norm(block)).float().log_softmax(dim=-1))
            for block in projected.split(step, dim=1)
        ]
    return torch.cat(blocks).clamp_min(0.0)


def answer_attribution(model: MultimodalModel, case: Case, dropout: Dropout) -> Tensor:
    """(V,) sum_t H_t a_t(v) / sum_t H_t: attention from answer steps to v, by their entropy.

    a_t(v): attention weight from the position that predicts answer token t to visual token v,
    averaged over heads and the middle third of layers. Deterministic: `dropout` is not used.
    """
    batch = _batch(model, case, model.project(case.tokens[None]))
    steps = _steps(batch)[0]
    visual = batch.visual[0]
    rows: list[Tensor] = []

    def keep(weights: Tensor) -> None:  # (1, H, T, T)
        rows.append(weights[0][:, steps][:, :, visual].float().mean(dim=0))

    with _attention(model, keep):
        log_p = _answer_log_p(model, batch)[0]
    entropy = -(log_p.exp() * log_p).sum(dim=-1) + _TINY  # (n,)
    return (entropy @ torch.stack(rows).mean(dim=0)) / entropy.sum()


SCORERS: dict[str, Callable[[MultimodalModel, Case, Dropout], Tensor]] = {
    "mc_dropout": mc_dropout,
    "vocabulary_entropy": vocabulary_entropy,
    "answer_attribution": answer_attribution,
}
"""Token scorers by the name a policy uses."""


def middle_third(num_layers: int) -> range:
    """Indices of the middle third of the layers; all of them when there are fewer than three."""
    edge = num_layers // 3
    return range(edge, num_layers - edge)


@contextmanager
def _attention(model: MultimodalModel, keep: Callable[[Tensor], None]) -> Iterator[None]:
    """Inside, `keep` gets the attention weights (B, H, T, T) of each middle layer as it runs.

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
        for index in middle_third(len(decoder.layers))
    ]
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(usual)
        for handle in handles:
            handle.remove()


def _repeat(tokens: Tensor, passes: int) -> Tensor:
    return tokens[None].expand(passes, -1, -1)


def _batch(model: MultimodalModel, case: Case, projected: Tensor) -> LmBatch:
    """The case as often as `projected` (K, V, D) has rows, its answer forced."""
    rows = projected.shape[0]
    positions = case.positions[None].expand(rows, -1)
    return model.batch(projected, positions, [case.question] * rows, [case.ids] * rows)


def _steps(batch: LmBatch) -> Tensor:
    """(B, n) the positions whose logits predict the answer tokens; rows are equally long."""
    return answer_places(batch).nonzero()[:, 1].reshape(len(batch.labels), -1)


def _answer_log_p(model: MultimodalModel, batch: LmBatch) -> Tensor:
    """(B, n, vocabulary) log-probabilities at the answer steps."""
    logits = model.forward(batch, answer_places(batch)).logits
    # Rows are equally long, so end to end is row by row.
    return logits.log_softmax(dim=-1).reshape(len(batch.labels), -1, logits.shape[-1])


def _epistemic(log_p: Tensor) -> Tensor:
    """(K, ..., vocabulary) -> (...): entropy of the mean minus mean entropy over K, nats."""
    p = log_p.exp()
    mean = p.mean(dim=0)
    of_mean = -(mean * mean.clamp_min(_TINY).log()).sum(dim=-1)
    return of_mean + (p * log_p).sum(dim=-1).mean(dim=0)
