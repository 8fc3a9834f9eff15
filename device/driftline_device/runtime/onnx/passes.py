"""The arrays that `scores` are computed from, over an export."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.generation import Cache, LanguageModel
from driftline_device.runtime.onnx.graphs import ActiveAdapter, Graphs
from driftline_device.runtime.onnx.prompts import Prompts, Row
from driftline_device.runtime.scores import Floats, log_softmax, missing_scorers
from driftline_shared.dropout import DropoutMasks
from driftline_shared.errors import ConfigError
from driftline_shared.pair.export_file import Export, middle_third


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxPasses:
    """`Passes` of one answer: `tokens` (V, D_v) float32 at `positions` (V,) int64, answer `ids`
    (n,), under `adapter`.
    """

    export: Export
    graphs: Graphs
    prompts: Prompts
    language: LanguageModel
    adapter: ActiveAdapter
    tokens: Floats
    positions: NDArray[np.int64]
    question: str
    ids: Sequence[int]
    num_passes: int
    seed: int

    @property
    def vocabulary(self) -> int:
        """Width of the logits."""
        return self.export.model.vocabulary

    def projected(self) -> Floats:
        """See `Passes`.

        They differ behind the mask only, so the graph is given the tokens once and K masks; it then
        gives the rows of all passes, one pass behind the other, as one image.
        """
        num_tokens = len(self.tokens)
        feeds = {"tokens": self.tokens[None]} | self._masks(
            "projector", (self.num_passes, num_tokens)
        )
        rows = self.graphs.run("projector", feeds, self.adapter)
        return rows.reshape(self.num_passes, num_tokens, -1)

    def token_logits(self, projected: Floats) -> Floats:
        """See `Passes`; the head's graph begins with the final norm."""
        flat = projected.reshape(-1, projected.shape[-1])
        return self.language.logits(flat, self.adapter).reshape(*projected.shape[:-1], -1)

    def answer_logits(self) -> Floats:
        """See `Passes`."""
        row = self._row()
        hidden, _, _ = self._forced([row] * self.num_passes, self.projected(), dropped=True)
        return self.token_logits(hidden[:, _steps(row)])

    def answer_attention(self) -> tuple[Floats, Floats]:
        """See `Passes`: from queries of those layers, which the graphs give, and cached keys."""
        projected = self.graphs.run("projector", {"tokens": self.tokens[None]}, self.adapter)
        row, layers = self._row(), middle_third(self.export.model.num_layers)
        hidden, cache, queries = self._forced([row], projected, also=_queries(layers))
        steps = _steps(row)
        attention = [
            _attention(
                queries[f"query.{i}"][0], cache[f"past_key.{i}"].numpy()[0], steps, row.visual
            )
            for i in layers
        ]
        return self.token_logits(hidden[0, steps]), np.stack(attention)

    def question_attention(self) -> Floats:
        """See `Passes`. Raises ConfigError for an export of before this score."""
        if missing := missing_scorers(self.export):
            raise ConfigError(missing["question_attention"])
        projected = self.graphs.run("projector", {"tokens": self.tokens[None]}, self.adapter)
        row = self.prompts.row(self.question, self.positions)
        layers = range(self.export.model.num_layers)
        _, cache, queries = self._forced([row], projected, also=_queries(layers))
        words = np.asarray(row.words, dtype=np.int64)
        return np.stack(
            [
                _attention(
                    queries[f"query.{i}"][0], cache[f"past_key.{i}"].numpy()[0], words, row.visual
                ).max(axis=(0, 1))
                for i in layers
            ]
        )

    def _row(self) -> Row:
        return self.prompts.row(self.question, self.positions, self.ids)

    def _forced(
        self,
        rows: Sequence[Row],
        projected: Floats,
        *,
        dropped: bool = False,
        also: Sequence[str] = (),
    ) -> tuple[Floats, Cache, dict[str, Floats]]:
        """One pass over equally long rows with their answers: see `LanguageModel.step`."""
        batch = self.prompts.batch(rows, projected)
        return self.language.step(
            batch.embeds,
            batch.mask,
            batch.positions,
            self.language.empty_cache(len(rows)),
            self.adapter,
            masks=self._masks("lm", batch.positions.shape) if dropped else None,
            also=also,
        )

    def _masks(self, part: str, shape: tuple[int, ...]) -> dict[str, Floats]:
        masks = DropoutMasks(rate=self.export.dropout_rate, seed=self.seed)
        return {
            one.input: masks.draw(one.place, (*shape, one.width))
            for one in self.export.dropout
            if one.part == part
        }


def _queries(layers: Iterable[int]) -> list[str]:
    """Names of the outputs that hold the queries of these layers."""
    return [f"query.{layer}" for layer in layers]


def _steps(row: Row) -> NDArray[np.int64]:
    """(n,) the places whose logits predict the answer tokens."""
    return np.arange(len(row.ids) - row.num_answer - 1, len(row.ids) - 1)


def _attention(
    query: Floats, key: Floats, steps: NDArray[np.int64], visual: NDArray[np.int64]
) -> Floats:
    """(H, n, V) attention weights; `query` (H, T, d), `key` (H_kv, T, d)."""
    heads, places, width = query.shape
    asked = query[:, steps].reshape(len(key), heads // len(key), len(steps), width)
    logits = np.einsum("ghnd,gtd->ghnt", asked, key) / np.float32(math.sqrt(width))
    logits[..., np.arange(places)[None] > steps[:, None]] = -np.inf
    weights = np.exp(log_softmax(logits))[..., visual]
    return weights.reshape(heads, len(steps), len(visual))
