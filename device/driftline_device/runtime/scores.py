"""What a model can say about its own doubt, in numpy: mutual information and the token scorers.

Letters: V visual tokens, K stochastic passes, n answer tokens, D width, H heads, L layers. A
runtime gives the arrays (`Passes`); the vision tower is never run: all starts from its tokens.
A new scorer is a function of `Passes` and one line of `SCORERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_CHUNK = 1 << 24
"""Most floats of one block of vocabulary logits (64 MiB)."""

_TINY = 1e-12


class Passes(Protocol):
    """Arrays of one answered question under one adapter; each call runs what it needs.

    Stochastic passes draw dropout from one seed, so they are the same at every call.
    """

    @property
    def num_passes(self) -> int:
        """K."""

    @property
    def vocabulary(self) -> int:
        """Width of the logits."""

    def projected(self) -> Floats:
        """(K, V, D) the visual tokens as the projector gives them, with dropout."""

    def token_logits(self, projected: Floats) -> Floats:
        """(..., D) projected tokens -> (..., vocabulary), by the final norm and the head."""

    def answer_logits(self) -> Floats:
        """(K, n, vocabulary) at the steps that predict the given answer, with dropout."""

    def answer_attention(self) -> tuple[Floats, Floats]:
        """One pass without dropout: (n, vocabulary) logits at those steps, and (L, H, n, V)
        attention weights from them to the visual tokens in the middle third of the layers.
        """

    def question_attention(self) -> Floats:
        """One pass over the prompt, without dropout: (L, V) in each of all layers the largest
        attention weight, over heads, that a place of the question's own words gives to each token.
        """


def mutual_information(passes: Passes) -> float:
    """BALD: mean over answer steps of [H(mean_k p_k) - mean_k H(p_k)] / log(vocabulary), >= 0.

    Houlsby et al., arXiv 1112.5745. Teacher-forced on the given answer.
    """
    log_p = log_softmax(passes.answer_logits())
    return max(0.0, float(_epistemic(log_p).mean())) / math.log(passes.vocabulary)


def mc_dropout(passes: Passes) -> Floats:
    """(V,) variance over K passes of the projected token, summed over D, by |mean|^2."""
    projected = passes.projected()
    mean_square = np.square(projected.mean(axis=0)).sum(axis=-1)
    return np.asarray(projected.var(axis=0).sum(axis=-1) / np.maximum(mean_square, _TINY))


def vocabulary_entropy(passes: Passes) -> Floats:
    """(V,) H(mean_k p_k) - mean_k H(p_k), p_k = softmax(head(norm(projected token))), nats."""
    projected = passes.projected()
    # A vocabulary of 10^5 times 10^3 tokens does not fit a device: a few tokens at a time.
    step = max(1, _CHUNK // (passes.num_passes * passes.vocabulary))
    blocks = [
        _epistemic(log_softmax(passes.token_logits(projected[:, start : start + step])))
        for start in range(0, projected.shape[1], step)
    ]
    return np.maximum(np.concatenate(blocks), 0.0)


def answer_attribution(passes: Passes) -> Floats:
    """(V,) sum_t H_t a_t(v) / sum_t H_t: attention from answer steps to v, by their entropy,
    averaged over heads and the middle third of layers. No dropout.
    """
    logits, attention = passes.answer_attention()
    log_p = log_softmax(logits)
    entropy = -(np.exp(log_p) * log_p).sum(axis=-1) + _TINY  # (n,)
    return np.asarray((entropy @ attention.mean(axis=(0, 1))) / entropy.sum())


def question_attention(passes: Passes) -> Floats:
    """(V,) max over layers l, heads h and places q of the question's own words of a_lh(q, v), the
    attention weight from q to the visual token v. No dropout, no generation.

    A model fetches what a question asks for at the question's words, often early and in one head,
    and its answer reads it from there: the answer's own attention, or a mean, hardly shows it. What
    the template writes behind the question does not count: it asks nothing.
    """
    return np.asarray(passes.question_attention().max(axis=0))


SCORERS: dict[str, Callable[[Passes], Floats]] = {
    "mc_dropout": mc_dropout,
    "vocabulary_entropy": vocabulary_entropy,
    "answer_attribution": answer_attribution,
    "question_attention": question_attention,
}
"""Token scorers that need the model, by the name a policy uses."""


def log_softmax(logits: Floats) -> Floats:
    """Of the last axis, float32; finite, however unlikely a token is."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    normed: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normed


def _epistemic(log_p: Floats) -> Floats:
    """(K, ..., vocabulary) -> (...): entropy of the mean minus mean entropy over K, nats."""
    p = np.exp(log_p)
    mean = p.mean(axis=0)
    of_mean = -(mean * np.log(np.maximum(mean, _TINY))).sum(axis=-1)
    return np.asarray(of_mean + (p * log_p).sum(axis=-1).mean(axis=0))
