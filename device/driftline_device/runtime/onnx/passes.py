"""The arrays that `scores` are computed from, over an export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.compression.compressing import Compressing
from driftline_device.runtime.onnx.generation import LanguageModel
from driftline_device.runtime.onnx.graphs import ActiveAdapter, Graphs
from driftline_device.runtime.onnx.key_values import KeyValues
from driftline_device.runtime.onnx.looks import Look, attention, look_of
from driftline_device.runtime.onnx.prompts import Prompts, Row
from driftline_device.runtime.scores import Floats
from driftline_shared.dropout import DropoutMasks
from driftline_shared.pair.export_file import Export, middle_third


def _nothing() -> None:
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxPasses:
    """`Passes` of one answer: `tokens` (V, D_v) float32 at `positions` (V,) int64, answer `ids`
    (n,), under `adapter`. `kept_look`: what is kept of the pass that answered. `compressing`: what
    the passes of `answer_logits` are read through, as the answer was.
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
    kept_look: Callable[[], Look | None] = _nothing
    compressing: Compressing | None = None

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
        # What is read in a token's place; what deeper layers are given has no logits.
        read = projected[..., : self.language.width]
        flat = read.reshape(-1, read.shape[-1])
        return self.language.logits(flat, self.adapter).reshape(*read.shape[:-1], -1)

    def answer_logits(self) -> Floats:
        """See `Passes`."""
        if self.compressing is not None:
            return self._compressed_logits(self.compressing)
        row = self._row()
        hidden, _, _ = self._forced([row] * self.num_passes, self.projected(), dropped=True)
        return self.token_logits(hidden[:, _steps(row)])

    def answer_attention(self) -> tuple[Floats, Floats]:
        """See `Passes`: from queries of those layers, which the graphs give, and cached keys."""
        projected = self.graphs.run("projector", {"tokens": self.tokens[None]}, self.adapter)
        row, layers = self._row(), middle_third(self.export.model.num_layers)
        hidden, cache, queries = self._forced([row], projected, also=_queries(layers))
        steps = _steps(row)
        weights = [
            attention(
                queries[f"query.{i}"][0][:, steps],
                cache.key(i, 0),
                steps,
                row.visual,
            )
            for i in layers
        ]
        return self.token_logits(hidden[0, steps]), np.stack(weights)

    def question_attention(self) -> Floats:
        """See `Passes`."""
        look = self.kept_look()
        if look is None:
            projected = self.graphs.run("projector", {"tokens": self.tokens[None]}, self.adapter)
            row = self.prompts.row(self.question, self.positions)
            layers = range(self.export.model.num_layers)
            _, cache, queries = self._forced([row], projected, also=_queries(layers))
            look = look_of(row, 0, 0, queries, cache)
        return look.attention()

    def _compressed_logits(self, compressing: Compressing) -> Floats:
        """`answer_logits` of passes that are compressed one by one, the answer read behind what is
        left of the prompt.
        """
        drawn, states = DropoutMasks(rate=self.export.dropout_rate, seed=self.seed), []

        def masks(layers: range, shape: tuple[int, ...]) -> dict[str, Floats]:
            return {
                one.input: drawn.draw(one.place, (*shape, one.width))
                for one in self.export.dropout
                if one.part == "lm" and int(one.place.split(".")[1]) in layers
            }

        row = self.prompts.row(self.question, self.positions)
        answer = self.prompts.embed(np.asarray(self.ids, dtype=np.int64))
        for projected in self.projected():
            batch = self.prompts.batch([row], projected[None])
            read, _ = compressing.read(
                self.language, row, batch, self.positions, self.adapter, masks=masks
            )
            hidden = self.language.behind(read, answer, self.adapter, masks)
            states.append(np.concatenate([read.states, hidden[:-1]]))
        return self.token_logits(np.stack(states))

    def _row(self) -> Row:
        return self.prompts.row(self.question, self.positions, self.ids)

    def _forced(
        self,
        rows: Sequence[Row],
        projected: Floats,
        *,
        dropped: bool = False,
        also: Sequence[str] = (),
    ) -> tuple[Floats, KeyValues, dict[str, Floats]]:
        """One pass over equally long rows with their answers: hidden states, the cache of that
        pass, and the outputs named in `also`.
        """
        batch = self.prompts.batch(rows, projected)
        cache = self.language.cache(*batch.embeds.shape[:2])
        hidden, given = self.language.step(
            batch.embeds,
            batch.positions,
            cache,
            self.adapter,
            more=batch.deep | (self._masks("lm", batch.embeds.shape[:2]) if dropped else {}),
            also=also,
        )
        return hidden, cache, given

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
