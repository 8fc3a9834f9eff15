"""Accuracy of greedy answers on cached tokens, all questions of a picture in one packed pass.

Greedy decoding spells the wanted answer exactly when, along the wanted answer, every most likely
next token is the wanted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_lab.data.openmoji.concepts import concepts
from driftline_lab.data.openmoji.questions import questions
from driftline_lab.recipes.packing import IGNORE, Packed, Segment
from driftline_lab.recipes.smol.lessons import draw_kept, pack_rows

_BATCH = 24


class Reader(Protocol):
    """A model that reads packed rows: one in training, or a checkpoint as it is run."""

    def hidden(self, packed: Packed, visual: Tensor) -> Tensor:
        """(B, T, W) last hidden states; `visual` (B, K, D) tower tokens."""

    def logits(self, hidden: Tensor) -> Tensor:
        """(n, W) -> (n, vocabulary)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """Which questions were answered exactly. All (n,): concept number, question, right or wrong."""

    concept: NDArray[np.int64]
    question: NDArray[np.str_]
    right: NDArray[np.bool_]

    def accuracy(self, *, of: NDArray[np.bool_] | None = None) -> float:
        """Share of right answers, over the rows chosen by `of`."""
        return float(self.right.mean() if of is None else self.right[of].mean())


def score(
    reader: Reader,
    segments: tuple[tuple[Segment, ...], ...],
    tokens: NDArray[np.float16],
    *,
    share: float = 1.0,
    seed: int = 0,
) -> Scored:
    """Every question of every concept about each of its views. `tokens`: (C, N, V, D)."""
    rng = np.random.default_rng(seed)
    pictures = [(c, n) for c in range(tokens.shape[0]) for n in range(tokens.shape[1])]
    asked = [[question for question, _ in questions(concept)] for concept in concepts()]
    rows: list[tuple[int, str, bool]] = []
    for first in range(0, len(pictures), _BATCH):
        batch = pictures[first : first + _BATCH]
        kept = draw_kept(len(batch), share, rng)
        packed = pack_rows([segments[c] for c, _ in batch], kept)
        visual = np.stack([tokens[c, n, k] for (c, n), k in zip(batch, kept, strict=True)])
        wanted = packed.labels != IGNORE
        with torch.inference_mode():
            hidden = reader.hidden(packed, torch.from_numpy(visual).float())
            missed = torch.zeros_like(wanted)
            missed[wanted] = reader.logits(hidden[wanted]).argmax(-1) != packed.labels[wanted]
        for (c, _), row, places in zip(batch, missed, packed.segments, strict=True):
            # The first answer token is predicted at the question's end: same segment.
            wrong = set(places[row].tolist())
            rows += [(c, q, i not in wrong) for i, q in enumerate(asked[c], start=1)]
    return Scored(
        concept=np.array([c for c, _, _ in rows], dtype=np.int64),
        question=np.array([q for _, q, _ in rows]),
        right=np.array([r for _, _, r in rows]),
    )
