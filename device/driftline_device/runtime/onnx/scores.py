"""The scores of `driftline_device.runtime.torch.scores` over an export, in numpy.

Letters: V visual tokens, K stochastic passes, n answer tokens, D width, H heads. The vision tower
is never run: everything starts from its tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.generation import Cache, LanguageModel, log_softmax
from driftline_device.runtime.onnx.prompts import Prompts, Row
from driftline_device.runtime.onnx.sessions import ActiveAdapter, Sessions
from driftline_shared.dropout import DropoutMasks
from driftline_shared.pair.export_file import Export

_CHUNK = 1 << 24
"""Most floats of one block of vocabulary logits (64 MiB)."""

_TINY = 1e-12

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One answered question under one adapter: `tokens` (V, D_v) at `positions` (V,), answer `ids`
    (n,); K `passes` with dropout from `seed`.
    """

    tokens: Floats
    positions: NDArray[np.int64]
    question: str
    ids: Sequence[int]
    adapter: ActiveAdapter
    passes: int
    seed: int


class Scores:
    """Computes the scores; safe from any thread."""

    def __init__(
        self, export: Export, sessions: Sessions, prompts: Prompts, language: LanguageModel
    ) -> None:
        self._export, self._sessions = export, sessions
        self._prompts, self._language = prompts, language

    def mutual_information(self, case: Case) -> float:
        """BALD: mean over answer steps of [H(mean_k p_k) - mean_k H(p_k)] / log(vocabulary)."""
        masks = self._masks(case)
        projected = self._project(case, masks)  # (K, V, D)
        row = self._row(case)
        hidden, _, _ = self._forced(case, [row] * case.passes, projected, masks)
        steps = hidden[:, _steps(row)]  # (K, n, D)
        log_p = self._log_p(case, steps)
        return max(0.0, float(_epistemic(log_p).mean())) / math.log(log_p.shape[-1])

    def mc_dropout(self, case: Case) -> Floats:
        """(V,) variance over K passes of the projected token, summed over D, by |mean|^2."""
        projected = self._project(case, self._masks(case))
        mean_square = np.square(projected.mean(axis=0)).sum(axis=-1)
        return projected.var(axis=0).sum(axis=-1) / np.maximum(mean_square, _TINY)

    def vocabulary_entropy(self, case: Case) -> Floats:
        """(V,) H(mean_k p_k) - mean_k H(p_k), p_k = softmax(head(norm(projected token))), nats."""
        projected = self._project(case, self._masks(case))
        step = max(1, _CHUNK // (case.passes * self._export.model.vocabulary))
        blocks = [
            _epistemic(self._log_p(case, projected[:, start : start + step]))
            for start in range(0, projected.shape[1], step)
        ]
        return np.maximum(np.concatenate(blocks), 0.0)

    def answer_attribution(self, case: Case) -> Floats:
        """(V,) sum_t H_t a_t(v) / sum_t H_t: attention from answer steps to v, by their entropy,
        averaged over heads and the middle third of layers.
        """
        projected = self._sessions.run("projector", {"tokens": case.tokens[None]}, case.adapter)
        row, layers = self._row(case), self._export.model.query_layers
        hidden, cache, queries = self._forced(
            case, [row], projected, also=[f"query.{i}" for i in layers]
        )
        steps = _steps(row)
        attended = np.mean(
            [
                _attention(
                    queries[f"query.{i}"][0], cache[f"past_key.{i}"].numpy()[0], steps, row.visual
                )
                for i in layers
            ],
            axis=0,
        )  # (n, V)
        log_p = self._log_p(case, hidden[:, steps])[0]
        entropy = -(np.exp(log_p) * log_p).sum(axis=-1) + _TINY  # (n,)
        return np.asarray((entropy @ attended) / entropy.sum())

    # -- passes -----------------------------------------------------------------------------------

    def _masks(self, case: Case) -> DropoutMasks:
        return DropoutMasks(rate=self._export.dropout_rate, seed=case.seed)

    def _row(self, case: Case) -> Row:
        return self._prompts.row(case.question, case.positions, case.ids)

    def _project(self, case: Case, masks: DropoutMasks) -> Floats:
        """(K, V, D) of K passes.

        They differ behind the mask only, so the graph is given the tokens once and K masks; it then
        gives the rows of all passes, one pass behind the other, as one image.
        """
        num_tokens = len(case.tokens)
        feeds = {"tokens": case.tokens[None]}
        feeds |= self._drawn("projector", masks, (case.passes, num_tokens))
        rows = self._sessions.run("projector", feeds, case.adapter)
        return rows.reshape(case.passes, num_tokens, -1)

    def _forced(
        self,
        case: Case,
        rows: Sequence[Row],
        projected: Floats,
        masks: DropoutMasks | None = None,
        also: Sequence[str] = (),
    ) -> tuple[Floats, Cache, dict[str, Floats]]:
        """One pass over equally long rows with their answers: see `LanguageModel.step`."""
        batch = self._prompts.batch(rows, projected)
        return self._language.step(
            batch.embeds,
            batch.mask,
            batch.positions,
            self._language.empty_cache(len(rows)),
            case.adapter,
            masks=self._drawn("lm", masks, batch.positions.shape) if masks is not None else None,
            also=also,
        )

    def _drawn(self, part: str, masks: DropoutMasks, shape: tuple[int, ...]) -> dict[str, Floats]:
        return {
            one.input: masks.draw(one.place, (*shape, one.width))
            for one in self._export.dropout
            if one.part == part
        }

    def _log_p(self, case: Case, hidden: Floats) -> Floats:
        """(..., D) hidden -> (..., vocabulary) log-probabilities."""
        flat = hidden.reshape(-1, hidden.shape[-1])
        logits = self._language.logits(flat, case.adapter)
        return log_softmax(logits).reshape(*hidden.shape[:-1], -1)


SCORERS: dict[str, Callable[[Scores, Case], Floats]] = {
    "mc_dropout": Scores.mc_dropout,
    "vocabulary_entropy": Scores.vocabulary_entropy,
    "answer_attribution": Scores.answer_attribution,
}
"""Token scorers by the name a policy uses."""


def _steps(row: Row) -> NDArray[np.int64]:
    """(n,) the places whose logits predict the answer tokens."""
    return np.arange(len(row.ids) - row.num_answer - 1, len(row.ids) - 1)


def _attention(
    query: Floats, key: Floats, steps: NDArray[np.int64], visual: NDArray[np.int64]
) -> Floats:
    """(n, V) attention weights, mean over heads; `query` (H, T, d), `key` (H_kv, T, d)."""
    heads, places, width = query.shape
    asked = query[:, steps].reshape(len(key), heads // len(key), len(steps), width)
    logits = np.einsum("ghnd,gtd->ghnt", asked, key) / np.float32(math.sqrt(width))
    logits[..., np.arange(places)[None] > steps[:, None]] = -np.inf
    weights = np.exp(log_softmax(logits))[..., visual]
    return np.asarray(weights.mean(axis=(0, 1)))


def _epistemic(log_p: Floats) -> Floats:
    """(K, ..., vocabulary) -> (...): entropy of the mean minus mean entropy over K, nats."""
    p = np.exp(log_p)
    mean = p.mean(axis=0)
    of_mean = -(mean * np.log(np.maximum(mean, _TINY))).sum(axis=-1)
    return np.asarray(of_mean + (p * log_p).sum(axis=-1).mean(axis=0))
