"""What is asked of each picture, in token ids, and random rows of it for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from driftline_lab.data.openmoji.concepts import concepts
from driftline_lab.data.openmoji.questions import questions
from driftline_lab.recipes.packing import Packed, Segment, pack
from driftline_lab.recipes.smol.learner import START_IDS
from driftline_lab.recipes.smol.pictures import NUM_VISUAL
from driftline_shared.assembly.smollm2 import END

PROMPT = f"<|im_start|>user\n<image>{{question}}{END}\n"
PAD_ID = 2
KEEP_SHARES = (1.0, 0.75, 0.5, 0.25, 0.25)
"""Shares of the visual tokens that training rows keep: both models must read subsets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lessons:
    """`segments`: per concept, its questions; `tokens`: style -> (C, N, V, D) fp16."""

    segments: tuple[tuple[Segment, ...], ...]
    tokens: Mapping[str, NDArray[np.float16]]

    def draw(
        self, num_pictures: int, num_questions: int, rng: np.random.Generator
    ) -> tuple[Packed, Tensor]:
        """Packed rows and their (B, K, D) float32 tokens: random styles, concepts, views, K.

        Any style is drawn alike, and any question of a picture.
        """
        share = KEEP_SHARES[rng.integers(len(KEEP_SHARES))]
        kept = draw_kept(num_pictures, share, rng)
        styles = list(self.tokens)
        rows, visual = [], []
        for places in kept:
            tokens = self.tokens[styles[rng.integers(len(styles))]]
            concept, view = rng.integers(tokens.shape[0]), rng.integers(tokens.shape[1])
            asked = self.segments[concept]
            order = rng.permutation(len(asked))[:num_questions]
            rows.append([asked[i] for i in order])
            visual.append(tokens[concept, view, places])
        return pack_rows(rows, kept), torch.from_numpy(np.stack(visual)).float()


def pack_rows(rows: Sequence[Sequence[Segment]], kept: NDArray[np.int64]) -> Packed:
    """`pack` with this pair's prompt."""
    return pack(rows, kept, num_visual=NUM_VISUAL, start_ids=START_IDS, pad_id=PAD_ID)


def draw_kept(num_rows: int, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """(B, K) sorted places of a random share of the visual tokens."""
    number = max(6, round(NUM_VISUAL * share))
    return np.sort(rng.random((num_rows, NUM_VISUAL)).argsort(axis=1)[:, :number], axis=1)


def segments_of(tokenizer: PreTrainedTokenizerFast) -> tuple[tuple[Segment, ...], ...]:
    """Every concept's questions and answers as token ids."""
    return tuple(
        tuple(segment(tokenizer, *pair) for pair in questions(concept)) for concept in concepts()
    )


def segment(tokenizer: PreTrainedTokenizerFast, question: str, answer: str) -> Segment:
    """The prompt after the picture, and the answer with its end token."""
    asked = tokenizer.encode(f"{question}{END}\n", add_special_tokens=False)
    answered = tokenizer.encode(answer, add_special_tokens=False)
    return Segment(question=tuple(asked), answer=(*answered, int(tokenizer.eos_token_id)))


def name_ids(tokenizer: PreTrainedTokenizerFast) -> list[list[int]]:
    """Every concept's name as token ids, as it stands inside a sentence."""
    return [tokenizer.encode(f" {c.name}", add_special_tokens=False) for c in concepts()]
