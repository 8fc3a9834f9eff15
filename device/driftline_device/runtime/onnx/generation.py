"""Greedy answers with a key-value cache; entropy and margin come from the passes that answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.likely import LikelyIds, likely_ids
from driftline_device.runtime.onnx.graphs import ActiveAdapter, Binding, Graphs, part_of
from driftline_device.runtime.onnx.key_values import Floats, KeyValues, Places
from driftline_device.runtime.onnx.prompts import Batch, Prompts
from driftline_device.runtime.scores import log_softmax
from driftline_shared.callbacks import OnToken, finished_text, rows_from
from driftline_shared.pair.export_file import Export

_NOTHING = np.zeros((1, 1, 1), dtype=np.float32)
"""Added behind a layer where a pass has no visual tokens."""


Masks = Callable[[range, tuple[int, ...]], Mapping[str, Floats]]
"""Layers and (B, T) of their pass -> dropout masks by input name."""

Narrow = Callable[
    [int, Floats, Mapping[str, Floats], KeyValues],
    tuple[Floats, NDArray[np.int64], Mapping[str, Floats]],
]
"""The layer to come, the states (1, T, D) that enter it, what earlier graphs of the pass gave, and
its cache -> states (1, T', D) and positions (A, 1, T') that are left, and what is still added to
them behind layers, by input name.
"""


Choose = Callable[[int, range, Mapping[str, Floats], KeyValues], None]
"""The number of the graph to come, its layers, what earlier graphs of the pass gave, and its cache,
of which that graph is to read a part from now on.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recall:
    """What a compressor does in each pass of one place behind its prompt: `choose`, of which
    `outputs` are asked for.
    """

    choose: Choose
    outputs: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """Of one row: generated `ids`, end token included; `entropy` and `margin` summed over them.

    `state` (D,): hidden state before the final norm, at the last place of the prompt. `likely`: of
    each step, where that was wanted of the row.
    """

    ids: tuple[int, ...]
    entropy: float
    margin: float
    ended: bool
    state: NDArray[np.float32]
    likely: tuple[LikelyIds, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptRead:
    """Prompts that were read, B rows: `states` (B, D) and `positions` (A, B, 1) at their last
    places, the `cache` with all of theirs and what else the pass gave. `recall`: what is done in
    each pass behind them, of one row.
    """

    states: NDArray[np.float32]
    cache: KeyValues
    given: dict[str, Floats]
    positions: NDArray[np.int64]
    recall: Recall | None = None


class LanguageModel:
    """The language model of an export: passes with a cache, logits, greedy answers."""

    def __init__(self, export: Export, graphs: Graphs, prompts: Prompts) -> None:
        self._export, self._graphs, self._prompts = export, graphs, prompts
        layers = range(export.model.num_layers)
        self._ends = np.asarray(export.prompt.end_ids, dtype=np.int64)
        self.max_positions = export.model.max_positions
        parts = [part_of("lm", number) for number in range(len(export.model.pieces))]
        self._deep = [
            name for part in parts for name in graphs.overridable(part) if name.startswith("deep.")
        ]
        self.queries = [f"query.{i}" for i in layers]
        """Outputs of all layers' queries, where `gives_queries`."""

    @property
    def width(self) -> int:
        """D, of the hidden states."""
        return self._export.model.width

    def cache(self, rows: int, places: int) -> KeyValues:
        """A cache of `rows` sequences that holds nothing yet; room for `places` of each."""
        return KeyValues(self._export.model, rows=rows, room=places)

    def step(
        self,
        embeds: NDArray[np.float32],
        positions: NDArray[np.int64],
        cache: KeyValues,
        adapter: ActiveAdapter,
        *,
        more: Mapping[str, NDArray[np.float32]] | None = None,
        also: Sequence[str] = (),
        masks: Masks | None = None,
        narrow: Narrow | None = None,
        recall: Recall | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Floats]]:
        """One pass, whose places `cache` holds afterwards: hidden (B, T, D), and the outputs named
        in `also`. `positions` (A, B, T). A cache is stepped under one adapter. Rows of unequal
        lengths go on one place a pass; several places behind others take one row.

        `more`: dropout masks, and what is added behind layers, by input name. `masks`: dropout
        masks of some layers. `narrow`: of the one row of a first pass, what is left between two
        graphs; `recall`: of one place behind it, what they read.
        """
        found: dict[str, Floats] = {}
        more = {} if more is None else more
        lengths = cache.lengths + np.int32(embeds.shape[1])
        part, hidden, places = self._part(embeds.shape[1], masks), embeds, positions
        also = also if recall is None else (*also, *recall.outputs)
        for number, layers in enumerate(self._export.model.pieces):
            if number and narrow is not None:
                hidden, places, deep = narrow(layers.start, hidden, found, cache)
                more = {**more, **deep}
                cache.dropped[number] = embeds.shape[1] - hidden.shape[1]
                cache.moved[number] = int(positions[0, 0, -1] - places[0, 0, -1])
            elif number:
                places = positions - cache.moved[number]
            if recall is not None:
                recall.choose(number, layers, found, cache)
            held = lengths - np.int32(cache.dropped[number])
            given = self._run(
                part_of(part, number),
                cache,
                adapter,
                also,
                {
                    "inputs_embeds": hidden,
                    "position_ids": places if len(places) > 1 else places[0],
                    "lengths": held,
                    "total": held.max(keepdims=True),
                    # What an earlier pass on this cache was given stays bound.
                    **dict.fromkeys(self._deep, _NOTHING),
                    **more,
                    **(masks(layers, hidden.shape[:2]) if masks is not None else {}),
                },
            )
            hidden = given.pop("hidden")
            found |= given
        cache.lengths = lengths
        return hidden, found

    def _run(
        self,
        part: str,
        cache: KeyValues,
        adapter: ActiveAdapter,
        also: Sequence[str],
        feeds: Mapping[str, NDArray[Any]],
    ) -> dict[str, Floats]:
        """One graph of a pass, with what it knows of `feeds` and `also`."""
        known, given = self._graphs.inputs(part), self._graphs.outputs(part)
        asked = [name for name in also if name in given]
        binding = self._binding(part, cache, adapter, asked)
        return binding.run({name: array for name, array in feeds.items() if name in known})

    def _binding(
        self, part: str, cache: KeyValues, adapter: ActiveAdapter, also: Sequence[str]
    ) -> Binding:
        key = (part, *also)
        if key not in cache.bindings:
            given, head = self._graphs.outputs(part), adapter.of("head")
            present = {
                made: value
                for name, value in cache.buffers.items()
                if (made := name.replace("past", "present", 1)) in given
            }
            cache.bindings[key] = self._graphs.bind(
                part,
                {**cache.buffers, **adapter.of("lm"), **(head if self._gives_logits(part) else {})},
                {**dict.fromkeys(("hidden", *also)), **present},
            )
        return cache.bindings[key]

    def look(
        self, number: int, states: Floats, positions: NDArray[np.int64], adapter: ActiveAdapter
    ) -> dict[str, Floats]:
        """What the graph `look.{number}` gives of one row, `states` (n, D) at `positions` (A, n)
        that enter the layer behind that cut: `query`, `key` (heads, n, d) and `normed` (n, D).
        """
        part = part_of("look", number)
        given = self._graphs.outputs(part)
        inputs = {**adapter.of("lm"), **adapter.of("head")}
        places = positions[:, None] if len(positions) > 1 else positions
        found = self._graphs.bind(part, inputs, dict.fromkeys(given)).run(
            {"inputs_embeds": states[None], "position_ids": places}
        )
        return {name.split(".")[0]: array[0] for name, array in found.items()}

    def next_logits(
        self,
        embeds: NDArray[np.float32],
        positions: NDArray[np.int64],
        cache: KeyValues,
        adapter: ActiveAdapter,
        recall: Recall | None = None,
    ) -> NDArray[np.float32]:
        """(B, vocabulary) logits of what comes behind one more place; see `step`."""
        if self._gives_logits(self._last(1)):
            _, given = self.step(embeds, positions, cache, adapter, also=("logits",), recall=recall)
            return given["logits"]
        hidden, _ = self.step(embeds, positions, cache, adapter, recall=recall)
        return self.logits(hidden[:, -1], adapter)

    def _gives_logits(self, part: str) -> bool:
        return "logits" in self._graphs.outputs(part)

    def gives_queries(self, num_places: int) -> bool:
        """Whether a pass over so many places gives the queries of all layers."""
        first = self._part(num_places)
        parts = [part_of(first, number) for number in range(len(self._export.model.pieces))]
        given = {name for part in parts for name in self._graphs.outputs(part)}
        return given.issuperset(self.queries)

    def _last(self, num_places: int) -> str:
        return part_of(self._part(num_places), len(self._export.model.cuts))

    def _part(self, num_places: int, masks: Masks | None = None) -> str:
        several = num_places > 1 or masks is not None
        return "prefill" if several and self._graphs.has("prefill") else "lm"

    def behind(
        self, read: PromptRead, embeds: Floats, adapter: ActiveAdapter, masks: Masks | None = None
    ) -> Floats:
        """Read q further tokens, embeddings (q, D), behind one prompt: hidden states (q, D). One by
        one where a compressor chooses what each reads.
        """
        size = len(embeds) if read.recall is None else 1
        states = []
        for start in range(0, len(embeds), size):
            part = embeds[start : start + size]
            hidden, _ = self.step(
                part[None],
                read.positions + 1 + start + np.arange(len(part)),
                read.cache,
                adapter,
                masks=masks,
                recall=read.recall,
            )
            states.append(hidden[0])
        return np.concatenate(states)

    def logits(self, hidden: NDArray[np.float32], adapter: ActiveAdapter) -> NDArray[np.float32]:
        """(N, D) hidden states, before the final norm -> (N, vocabulary)."""
        return self._graphs.run("head", {"hidden": np.ascontiguousarray(hidden)}, adapter)

    def read(
        self,
        batch: Batch,
        adapter: ActiveAdapter,
        *,
        prefix: Places | None = None,
        also: Sequence[str] = (),
        masks: Masks | None = None,
        narrow: Narrow | None = None,
    ) -> PromptRead:
        """One pass over prompts; `prefix` is of the places that `batch` leaves out, `also` names
        further outputs of the pass. `masks`, `narrow`: see `step`.
        """
        rows, width = batch.embeds.shape[:2]
        skip = 0 if prefix is None else next(iter(prefix.values())).shape[2]
        cache = self.cache(rows, skip + width + self._export.model.max_new_tokens)
        if prefix is not None:
            for row in range(rows):
                cache.put(row, prefix)
        hidden, given = self.step(
            batch.embeds,
            batch.positions,
            cache,
            adapter,
            more=batch.deep,
            also=also,
            masks=masks,
            narrow=narrow,
        )
        # The next place of a row takes that of its padding.
        cache.lengths = (skip + batch.lengths).astype(np.int32)
        every, last = np.arange(rows), batch.lengths - 1
        # Indexing copies: the last places alone, not the whole prompt's.
        return PromptRead(
            states=hidden[every, last - cache.dropped[-1]],
            cache=cache,
            given=given,
            positions=batch.positions[:, every, last, None],
        )

    def write(
        self,
        read: PromptRead,
        adapter: ActiveAdapter,
        on_token: OnToken | None = None,
        *,
        num_likely: Sequence[int | None] = (),
    ) -> list[Generated]:
        """Greedy answers to prompts that were read, a token of every row in each pass.

        `num_likely`: how many of the most likely tokens are kept of each row's steps; None: none.
        """
        growing = _Growing(len(read.states), self._ends, num_likely)
        held, positions = read.cache, read.positions
        chosen = growing.add(self.logits(read.states, adapter))
        for _ in range(self._export.model.max_new_tokens - 1):
            self._tell(growing, on_token)
            if not growing.running.any():
                return growing.generated(read.states)
            embeds = self._prompts.embed(chosen)[:, None]
            positions = positions + 1
            logits = self.next_logits(embeds, positions, held, adapter, read.recall)
            chosen = growing.add(logits)
        self._tell(growing, on_token)
        return growing.generated(read.states)

    def write_apart(
        self,
        reads: Sequence[PromptRead],
        adapter: ActiveAdapter,
        on_token: OnToken | None,
        *,
        num_likely: Sequence[int | None],
    ) -> list[Generated]:
        """As `write`, of prompts that were read one by one: together, but where layers hold
        different numbers of places, or are to read a part of them.
        """
        if not any(read.recall or any(read.cache.dropped) for read in reads):
            return self.write(self.joined(reads), adapter, on_token, num_likely=num_likely)
        made = []
        for row, (read, num) in enumerate(zip(reads, num_likely, strict=True)):
            made += self.write(read, adapter, rows_from(row, on_token), num_likely=[num])
        return made

    def _tell(self, growing: _Growing, on_token: OnToken | None) -> None:
        if on_token is not None:
            for row in growing.grown:
                on_token(row, finished_text(self._prompts.decode(growing.ids[row])))

    def joined(self, reads: Sequence[PromptRead]) -> PromptRead:
        """Prompts that were read one after the other, as if in one pass."""
        if len(reads) == 1:
            return reads[0]
        width = max(int(read.cache.lengths.max()) for read in reads)
        rows = [(read.cache, number) for read in reads for number in range(len(read.states))]
        cache = self.cache(len(rows), width + self._export.model.max_new_tokens)
        for row, (held, number) in enumerate(rows):
            cache.put(row, held.row(number))
        return PromptRead(
            states=np.concatenate([read.states for read in reads]),
            cache=cache,
            given={},
            positions=np.concatenate([read.positions for read in reads], axis=1),
        )


class _Growing:
    """The answers of a batch while they are generated."""

    def __init__(
        self, rows: int, ends: NDArray[np.int64], num_likely: Sequence[int | None]
    ) -> None:
        self._ends = ends
        self._num_likely = num_likely or [None] * rows
        self._likely: list[list[LikelyIds]] = [[] for _ in range(rows)]
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
            num = self._num_likely[row]
            if num is not None:
                self._likely[row].append(likely_ids(logits[row], num))
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
                likely=tuple(self._likely[row]),
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
