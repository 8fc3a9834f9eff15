"""The MultimodalModel protocol: encode -> project -> batch -> forward/generate.

Letters: B batch, V visual tokens, K kept tokens, T sequence, D_v tower width, D language width.
A visual token is what becomes one position of the language model. A subset of the tokens keeps its
*original* positions, and so does the text after the image, whatever K is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.callbacks import OnToken
from driftline_shared.tokens import Grid

IGNORED = -100
"""Label of every position that is not part of the answer (the value torch's cross_entropy skips).
"""


TEXT_PLACE, SEPARATOR_PLACE, EXTRA_PLACE = -1, -2, -3
"""What `LmBatch.holds` says of places without a visual token: text; separators within the image's
stretch, learned ones or text; tokens that belong to the image and to no cell of its grid.
"""


@dataclass(frozen=True, kw_only=True)
class LmBatch:
    """What the language model reads.

    `inputs_embeds` (B, T, D), `attention_mask` (B, T) int64, `position_ids` int64: (B, T), or
    (3, B, T) where the family has axes of time, height and width. `labels` (B, T) int64 with
    `IGNORED` off the answer. `visual` (B, K) int64: where in the row each visual token lies.
    `extra`: what else the family's language model reads with these rows. `holds` (B, T) int64: the
    flat grid index of the visual token at a place, or one of `TEXT_PLACE` (padding, too),
    `SEPARATOR_PLACE`, `EXTRA_PLACE`; None: not known. `words` (B, T) bool: places of the question's
    own words, without the template's; None: not known.
    """

    inputs_embeds: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    labels: Tensor
    visual: Tensor
    extra: dict[str, Any] = field(default_factory=dict)
    holds: Tensor | None = None
    words: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class LmOutput:
    """`logits` (..., vocabulary) and `hidden` (..., D), the last hidden states after the final
    norm: of all places (B, T), or of N chosen ones laid end to end.
    """

    logits: Tensor
    hidden: Tensor


@dataclass(frozen=True, kw_only=True)
class Generated:
    """Greedy answers. `tokens` hold the end token when it came; (B, n) arrays are float32, 0 past a
    row's end.

    `top1`: probability of the chosen token; `margin`: top1 - top2; `entropy`: H(p)/log(vocabulary).
    `lengths`: (B,) generated tokens a row. `ended`: (B,) bool, whether the end token came.
    """

    tokens: list[list[int]]
    texts: list[str]
    top1: NDArray[np.float32]
    margin: NDArray[np.float32]
    entropy: NDArray[np.float32]
    lengths: NDArray[np.int64]
    ended: NDArray[np.bool_]


class MultimodalModel(Protocol):
    """A vision-language model taken apart where Driftline needs to get in."""

    model: torch.nn.Module
    device: torch.device
    vocab_size: int
    grid: Grid

    @property
    def num_tokens(self) -> int:
        """V, the visual tokens of one image."""

    def check_question(self, question: str, max_new_tokens: int) -> None:
        """Raise DataError for a question that cannot be asked: no text, or too many tokens to leave
        room for an answer of `max_new_tokens`.
        """

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B, V, D_v) float32 tower tokens of (H, W, 3) uint8 images; no gradient.

        Clips are (F, H, W, 3), where the pair's canvas has F frames.
        """

    def project(self, tokens: Tensor) -> Tensor:
        """(B, K, D_v) -> (B, K, D), query adapter included.

        A family whose deeper layers also read the image appends what they read: its D is wider,
        and the embedding of a token comes first.
        """

    def batch(
        self,
        projected: Tensor,
        positions: Tensor,
        questions: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> LmBatch:
        """Prompt, visual tokens and, when given, answers as one padded batch.

        `positions` (B, K) int64 flat grid indices. Without answers rows are padded on the left,
        ready to generate; with answers (token ids, end token included) on the right, ready to
        train.
        """

    def forward(self, batch: LmBatch, places: Tensor | None = None) -> LmOutput:
        """One pass of the language model.

        `places` (B, T) bool: only these are asked for; logits over a large vocabulary cost more
        than layers do, and few places are ever read.
        """

    def generate(
        self, batch: LmBatch, max_new_tokens: int, on_token: OnToken | None = None
    ) -> Generated:
        """Greedy answers with the probabilities of every step."""

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of an answer, end token included."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out, stripped."""

    def token_name(self, token: int) -> str:
        """What the vocabulary calls a token."""


class WrappedModel:
    """A model in front of another: a MultimodalModel that hands on what no subclass changes."""

    def __init__(self, wrapped: MultimodalModel) -> None:
        self.wrapped = wrapped
        self.model: torch.nn.Module = wrapped.model
        self.device: torch.device = wrapped.device
        self.vocab_size: int = wrapped.vocab_size
        self.grid: Grid = wrapped.grid

    @property
    def num_tokens(self) -> int:
        return self.grid.num_tokens

    def check_question(self, question: str, max_new_tokens: int) -> None:
        self.wrapped.check_question(question, max_new_tokens)

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        return self.wrapped.encode(images)

    def project(self, tokens: Tensor) -> Tensor:
        return self.wrapped.project(tokens)

    def batch(
        self,
        projected: Tensor,
        positions: Tensor,
        questions: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> LmBatch:
        return self.wrapped.batch(projected, positions, questions, answers)

    def forward(self, batch: LmBatch, places: Tensor | None = None) -> LmOutput:
        return self.wrapped.forward(batch, places)

    def generate(
        self, batch: LmBatch, max_new_tokens: int, on_token: OnToken | None = None
    ) -> Generated:
        return self.wrapped.generate(batch, max_new_tokens, on_token)

    def answer_ids(self, text: str) -> list[int]:
        return self.wrapped.answer_ids(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.wrapped.decode(ids)

    def token_name(self, token: int) -> str:
        return self.wrapped.token_name(token)


def answer_places(batch: LmBatch) -> Tensor:
    """(B, T) bool: the places whose logits predict the answers' tokens."""
    asked = torch.zeros_like(batch.labels, dtype=torch.bool)
    asked[:, :-1] = batch.labels[:, 1:] != IGNORED
    return asked
