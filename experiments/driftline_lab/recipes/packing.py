"""Packs several questions about one picture into one sequence that shares its visual tokens.

A row is S start tokens, K visual tokens, then question and answer of each segment. Attention is
causal, a segment sees the prefix and itself, and every segment's positions start at S + V. The
prefix comes first and attention is causal, so logits equal those of separate sequences
(tests/unit/lab holds the unpacked twin against it). With about ten questions a picture it costs a
third.

Letters: B pictures, S start tokens, K kept visual tokens, V all visual tokens, T row length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORE = -100
_PAD_SEGMENT = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Token ids of one question with its line break, and of its answer with the end token."""

    question: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """Rows ready for the language model; prefix places hold `start_ids` and then pad ids.

    `input_ids`, `position_ids`, `segments`: (B, T) int64; `segments` is 0 in the prefix, 1.. in the
    questions, -1 in padding. `labels`: (B, T) int64, already shifted: labels[t] is the token after
    t, `IGNORE` outside answers. `question_ends`: (B, T) bool, the last question token, from which
    the first answer token is predicted. `mask`: (B, 1, T, T) bool, True where attention is allowed.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Tensor
    labels: Tensor
    question_ends: Tensor
    mask: Tensor


def pack(
    rows: Sequence[Sequence[Segment]],
    kept: NDArray[np.int64],
    *,
    num_visual: int,
    start_ids: Sequence[int],
    pad_id: int,
) -> Packed:
    """Packs one row per picture. `kept`: (B, K) flat grid positions of the kept visual tokens."""
    batch, num_kept = kept.shape
    start = len(start_ids)
    prefix = start + num_kept
    length = prefix + max(sum(len(s.question) + len(s.answer) for s in row) for row in rows)
    input_ids = np.full((batch, length), pad_id, dtype=np.int64)
    position_ids = np.zeros((batch, length), dtype=np.int64)
    segments = np.full((batch, length), _PAD_SEGMENT, dtype=np.int64)
    labels = np.full((batch, length), IGNORE, dtype=np.int64)
    ends = np.zeros((batch, length), dtype=bool)

    input_ids[:, :start] = start_ids
    position_ids[:, :start] = np.arange(start)
    position_ids[:, start:prefix] = start + kept
    segments[:, :prefix] = 0
    for b, row in enumerate(rows):
        at = prefix
        for number, segment in enumerate(row, start=1):
            tokens = segment.question + segment.answer
            stop, asked = at + len(tokens), at + len(segment.question)
            input_ids[b, at:stop] = tokens
            position_ids[b, at:stop] = start + num_visual + np.arange(len(tokens))
            segments[b, at:stop] = number
            labels[b, asked - 1 : stop - 1] = segment.answer
            ends[b, asked - 1] = True
            at = stop
    segment_ids = torch.from_numpy(segments)
    return Packed(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        segments=segment_ids,
        labels=torch.from_numpy(labels),
        question_ends=torch.from_numpy(ends),
        mask=attention_mask(segment_ids),
    )


def spliced(words: Tensor, visual: Tensor, start: int = 1) -> Tensor:
    """(B, T, W) embeddings `words` with `visual` (B, K, W) in its places after `start` tokens."""
    seen = visual.to(words.dtype)
    return torch.cat([words[:, :start], seen, words[:, start + seen.shape[1] :]], dim=1)


def last_states(
    language: Any, embeds: Tensor, packed: Packed, mask: Tensor | None = None
) -> Tensor:
    """(B, T, W) last hidden states of the rows; `mask`: instead of their own."""
    states: Tensor = language(
        inputs_embeds=embeds,
        attention_mask=packed.mask if mask is None else mask,
        position_ids=packed.position_ids,
        use_cache=False,
    ).last_hidden_state
    return states


def attention_mask(segments: Tensor) -> Tensor:
    """(B, T) segments -> (B, 1, T, T) bool: earlier, and of the prefix or the same segment."""
    query, key = segments[:, :, None], segments[:, None, :]
    length = segments.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    # Padding is a segment of its own, so that no row of the softmax is empty.
    return ((key == 0) | (key == query)).logical_and(earlier)[:, None]
