"""Greedy answers with a key-value cache; entropy and margin come from the passes that answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.graphs import ActiveAdapter, Graphs, Value, to_value
from driftline_device.runtime.onnx.prompts import Batch, Prompts
from driftline_device.runtime.scores import log_softmax
from driftline_shared.callbacks import OnToken, finished_text
from driftline_shared.pair.export_file import Export

Cache = dict[str, Value]
"""`past_key.{i}` and `past_value.{i}` -> (B, H_kv, P, d) float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """Of one row: generated `ids`, end token included; `entropy` and `margin` summed over them.

    `state` (D,): hidden state before the final norm, at the last place of the prompt.
    """

    ids: tuple[int, ...]
    entropy: float
    margin: float
    ended: bool
    state: NDArray[np.float32]


class LanguageModel:
    """The language model of an export: passes with a cache, logits, greedy answers."""

    def __init__(self, export: Export, graphs: Graphs, prompts: Prompts) -> None:
        self._export, self._graphs, self._prompts = export, graphs, prompts
        layers = range(export.model.num_layers)
        self._past = [f"past_{kind}.{i}" for i in layers for kind in ("key", "value")]
        self._present = [name.replace("past", "present", 1) for name in self._past]
        self._ends = np.asarray(export.prompt.end_ids, dtype=np.int64)
        self.max_positions = export.model.max_positions
        self.queries = [f"query.{i}" for i in layers]
        """Outputs of all layers' queries, where `gives_queries`."""

    @property
    def width(self) -> int:
        """D, of the hidden states."""
        return self._export.model.width

    def empty_cache(self, rows: int) -> Cache:
        """A cache of `rows` sequences that holds nothing yet."""
        model = self._export.model
        shape = (rows, model.num_key_heads, 0, model.head_width)
        nothing = to_value(np.empty(shape, dtype=np.float32))
        return dict.fromkeys(self._past, nothing)

    def step(
        self,
        embeds: NDArray[np.float32],
        mask: NDArray[np.int64],
        positions: NDArray[np.int64],
        cache: Cache,
        adapter: ActiveAdapter,
        *,
        masks: Mapping[str, NDArray[np.float32]] | None = None,
        also: Sequence[str] = (),
    ) -> tuple[NDArray[np.float32], Cache, dict[str, Value]]:
        """One pass: hidden (B, T, D), the cache with these places, and the outputs named in `also`.

        `masks`: dropout masks by input name.
        """
        feeds = {
            "inputs_embeds": to_value(embeds),
            "attention_mask": to_value(mask),
            "position_ids": to_value(positions),
            **cache,
            **{name: to_value(array) for name, array in (masks or {}).items()},
        }
        wanted = ["hidden", *self._present, *also]
        given = self._graphs.run_values(self._part(embeds.shape[1]), wanted, feeds, adapter)
        end = 1 + len(self._present)
        return (
            given[0].numpy(),
            dict(zip(self._past, given[1:end], strict=True)),
            dict(zip(also, given[end:], strict=True)),
        )

    def gives_queries(self, num_places: int) -> bool:
        """Whether a pass over so many places gives the queries of all layers."""
        given = self._graphs.outputs(self._part(num_places))
        return all(name in given for name in self.queries)

    def _part(self, num_places: int) -> str:
        return "prefill" if num_places > 1 and self._graphs.has("prefill") else "lm"

    def logits(self, hidden: NDArray[np.float32], adapter: ActiveAdapter) -> NDArray[np.float32]:
        """(N, D) hidden states, before the final norm -> (N, vocabulary)."""
        return self._graphs.run("head", {"hidden": np.ascontiguousarray(hidden)}, adapter)

    def generate(
        self,
        batch: Batch,
        adapter: ActiveAdapter,
        *,
        cache: Cache | None = None,
        also: Sequence[str] = (),
        on_token: OnToken | None = None,
    ) -> tuple[list[Generated], Cache]:
        """Greedy answers of all rows, and the cache as it was after the prompts, with the outputs
        of that pass named in `also`.

        `cache`: holds the places that `batch` leaves out.
        """
        rows = len(batch.embeds)
        growing = _Growing(rows, self._ends)
        embeds, mask, positions = batch.embeds, batch.mask, batch.positions
        held = cache or self.empty_cache(rows)
        after_prompts: Cache | None = None
        states: NDArray[np.float32] | None = None
        for _ in range(self._export.model.max_new_tokens):
            wanted = also if after_prompts is None else ()
            hidden, held, given = self.step(embeds, mask, positions, held, adapter, also=wanted)
            after_prompts = {**held, **given} if after_prompts is None else after_prompts
            # Copied: the last places alone, not the whole prompt's.
            states = hidden[:, -1].copy() if states is None else states
            chosen = growing.add(self.logits(hidden[:, -1], adapter))
            if on_token is not None:
                for row in growing.grown:
                    on_token(row, finished_text(self._prompts.decode(growing.ids[row])))
            if not growing.running.any():
                break
            embeds = self._prompts.embed(chosen)[:, None]
            mask = np.concatenate([mask, np.ones((rows, 1), dtype=np.int64)], axis=1)
            positions = positions[:, -1:] + 1
        assert states is not None  # an answer has one token or more
        return growing.generated(states), after_prompts or held


class _Growing:
    """The answers of a batch while they are generated."""

    def __init__(self, rows: int, ends: NDArray[np.int64]) -> None:
        self._ends = ends
        self.ids: list[list[int]] = [[] for _ in range(rows)]
        self.running = np.ones(rows, dtype=np.bool_)
        self.grown: list[int] = []
        """Rows that the last step added a token to."""
        self._sums = np.zeros((2, rows))

    def add(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """Take (B, vocabulary) logits of the next tokens; (B,) chosen ids."""
        chosen, entropy, margin = step_scores(logits)
        chosen = np.where(self.running, chosen, self._ends[0])
        self._sums += np.stack([entropy, margin]) * self.running
        self.grown = np.flatnonzero(self.running).tolist()
        for row in self.grown:
            self.ids[row].append(int(chosen[row]))
        self.running &= ~np.isin(chosen, self._ends)
        return chosen

    def generated(self, states: NDArray[np.float32]) -> list[Generated]:
        """The answers; `states` (B, D) of their prompts."""
        return [
            Generated(
                ids=tuple(ids),
                entropy=float(self._sums[0, row]),
                margin=float(self._sums[1, row]),
                ended=not self.running[row],
                state=states[row],
            )
            for row, ids in enumerate(self.ids)
        ]


def step_scores(
    logits: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """(B, vocabulary) -> (B,) most likely ids, H(p) / log(vocabulary), and p(first) - p(second)."""
    log_p = log_softmax(logits)
    p = np.exp(log_p)
    rows = np.arange(len(p))
    chosen = np.argmax(logits, axis=-1)
    entropy = -(p * log_p).sum(axis=-1) / math.log(logits.shape[-1])
    top = p[rows, chosen]
    p[rows, chosen] = -1.0
    return chosen.astype(np.int64), entropy, top - p.max(axis=-1)
