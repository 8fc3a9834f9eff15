"""What places look at: the question's words in the pass that answered, and those of a prompt in a
layer that it is to enter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.onnx.key_values import KeyValues
from driftline_device.runtime.onnx.prompts import Row
from driftline_device.runtime.scores import Floats, log_softmax
from driftline_shared.tokens import VisualTokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Of one row, in each layer: `queries` (H, n, d) of the question's n words, `keys` (H_kv, T, d)
    of the prompt. `tokens`: those that were read.
    """

    tokens: VisualTokens | None
    row: Row
    queries: Sequence[Floats]
    keys: Sequence[Floats]

    @property
    def num_bytes(self) -> int:
        """Of the arrays."""
        return sum(array.nbytes for array in (*self.queries, *self.keys))

    def attention(self) -> Floats:
        """(L, V) the largest weight, over heads, that a word gives to each token."""
        words = np.asarray(self.row.words, dtype=np.int64)
        return np.stack(
            [
                attention(query, key, words, self.row.visual).max(axis=(0, 1))
                for query, key in zip(self.queries, self.keys, strict=True)
            ]
        )


class LayerGraph:
    """`LayerLook` by the graph `look` of a layer, which runs once where anything of it is asked."""

    def __init__(self, keys_before: Floats, run: Callable[[], Mapping[str, Floats]]) -> None:
        """`run`: the graph's outputs; `query` and `key` without the number of the layer."""
        self.keys_before = keys_before
        self._run = run
        self._given: Mapping[str, Floats] = {}

    def normed(self) -> Floats:
        """See `LayerLook`."""
        return self._of("normed")

    def attention(self, places: NDArray[np.int64]) -> Floats:
        """See `LayerLook`."""
        keys = self._of("key")
        asked = self._of("query")[:, places]
        return attention(asked, keys, places, np.arange(keys.shape[1])).mean(axis=0)

    def _of(self, name: str) -> Floats:
        self._given = self._given or self._run()
        return self._given[name]


def look_of(
    row: Row,
    number: int,
    skip: int,
    queries: Mapping[str, Floats],
    cache: KeyValues,
    *,
    tokens: VisualTokens | None = None,
) -> Look:
    """Of row `number` of a pass; `skip` places of it were in the cache. `queries`: `query.{i}` of
    the pass, of all layers; `cache`: as it left it.
    """
    layers = range(len(queries))
    words = np.asarray(row.words, dtype=np.int64) - skip
    return Look(
        tokens=tokens,
        row=row,
        queries=[queries[f"query.{i}"][number][:, words] for i in layers],
        keys=[cache.key(i, number)[:, : row.num_prompt].copy() for i in layers],
    )


def attention(
    asked: Floats, key: Floats, places: NDArray[np.int64], visual: NDArray[np.int64]
) -> Floats:
    """(H, n, V) attention weights of the queries `asked` (H, n, d), at `places` (n,), to those of
    the keys (H_kv, T, d) at `visual` (V,).
    """
    heads, num_places, width = asked.shape
    grouped = asked.reshape(len(key), heads // len(key), num_places, width)
    logits = np.einsum("ghnd,gtd->ghnt", grouped, key) / np.float32(math.sqrt(width))
    logits[..., np.arange(key.shape[1])[None] > places[:, None]] = -np.inf
    weights = np.exp(log_softmax(logits))[..., visual]
    return weights.reshape(heads, num_places, len(visual))
