"""Accuracy of greedy answers on cached tokens, a whole picture's questions at a time.

Greedy decoding spells the wanted answer exactly when, along the wanted answer, every most likely
next token is the wanted one. One packed pass tells that, with no decoding loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from driftline_lab.recipes.packing import IGNORE, Packed, last_states, pack
from driftline_lab.recipes.tiny.language import NUM_VISUAL
from driftline_lab.recipes.tiny.training import View, embed


def accuracy(
    model: LlavaForConditionalGeneration,
    views: Sequence[View],
    *,
    start_id: int,
    pad_id: int,
    share: float = 1.0,
    seed: int = 0,
    batch_size: int = 40,
) -> float:
    """Share of questions answered exactly, from a random `share` of each picture's tokens."""
    right, asked = answered(
        model,
        views,
        start_id=start_id,
        pad_id=pad_id,
        share=share,
        seed=seed,
        batch_size=batch_size,
    )
    return int(right.sum()) / max(1, int(asked.sum()))


def answered(
    model: LlavaForConditionalGeneration,
    views: Sequence[View],
    *,
    start_id: int,
    pad_id: int,
    share: float = 1.0,
    seed: int = 0,
    batch_size: int = 40,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each view, (N,): questions answered exactly, and all its questions."""
    rng = np.random.default_rng(seed)
    num_kept = round(NUM_VISUAL * share)
    right: list[int] = []
    asked: list[int] = []
    for first in range(0, len(views), batch_size):
        batch = views[first : first + batch_size]
        kept = np.sort(rng.random((len(batch), NUM_VISUAL)).argsort(axis=1)[:, :num_kept], axis=1)
        packed = pack(
            [view.segments for view in batch],
            kept,
            num_visual=NUM_VISUAL,
            start_ids=(start_id,),
            pad_id=pad_id,
        )
        visual = np.stack([v.tokens[v.row, k] for v, k in zip(batch, kept, strict=True)])
        with torch.inference_mode():
            embeds = embed(model, packed, torch.from_numpy(visual).float())
            hidden = last_states(model.model.language_model, embeds, packed)
            guessed = model.lm_head(hidden).argmax(-1)
        for exact, num in _by_row(guessed, packed):
            right.append(exact)
            asked.append(num)
    return np.asarray(right, dtype=np.int64), np.asarray(asked, dtype=np.int64)


def exact_answers(guessed: Tensor, packed: Packed) -> tuple[int, int]:
    """Segments whose whole answer is guessed, and all segments. `guessed` (B, T): next tokens."""
    rows = list(_by_row(guessed, packed))
    return sum(exact for exact, _ in rows), sum(num for _, num in rows)


def _by_row(guessed: Tensor, packed: Packed) -> Iterator[tuple[int, int]]:
    wrong = (guessed != packed.labels) & (packed.labels != IGNORE)
    for row, segments in zip(wrong, packed.segments, strict=True):
        # The first answer token is predicted at the question's end: same segment.
        missed = torch.unique(segments[row])
        num = int(segments.max())
        yield num - len(missed), num
