"""A way of reading packed rows: what a method does to a batch, in one differentiable pass.

The packed prefix holds the picture and is computed before any question, so what a method makes of
the prefix is the same for all questions of a picture, and logits equal those of single rows
through the driver (tests/unit/lab holds them against it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from driftline_lab.recipes.compressors.student import Student
from driftline_lab.recipes.packing import IGNORE, Packed, Segment, last_states, pack, spliced
from driftline_lab.recipes.tiny.evaluation import exact_answers
from driftline_lab.recipes.tiny.language import NUM_VISUAL
from driftline_lab.recipes.tiny.training import View

Rows = Sequence[Sequence[Segment]]


class Reading(Protocol):
    """`weights`: the method's own, float32 leaves by name; `modules`: what of the student is
    trained with them.
    """

    weights: dict[str, nn.Parameter]
    modules: list[nn.Module]

    def states(self, views: Sequence[View], rows: Rows) -> tuple[Packed, Tensor]:
        """Packed rows, one a view or one a question, and their (B, T, D) hidden states behind the
        final norm.
        """


class PlainReading:
    """The student as it is."""

    def __init__(self, student: Student) -> None:
        self._student = student
        self.weights: dict[str, nn.Parameter] = {}
        self.modules: list[nn.Module] = []

    def states(self, views: Sequence[View], rows: Rows) -> tuple[Packed, Tensor]:
        """See `Reading.states`."""
        packed = packed_rows(self._student, rows, NUM_VISUAL)
        language = self._student.model.model.language_model
        embeds = embedded(self._student, packed, projected(self._student, views))
        return packed, last_states(language, embeds, packed)


def language_parts(student: Student) -> list[nn.Module]:
    """The language model and its head."""
    return [student.model.model.language_model, student.model.lm_head]


def packed_rows(student: Student, rows: Rows, num_image: int) -> Packed:
    """Rows whose picture takes `num_image` places, one position each."""
    kept = np.tile(np.arange(num_image, dtype=np.int64), (len(rows), 1))
    return pack(
        rows, kept, num_visual=num_image, start_ids=(student.start_id,), pad_id=student.pad_id
    )


def projected(student: Student, views: Sequence[View]) -> Tensor:
    """(B, V, D) projected visual tokens; the tower's output is the last of what a view holds."""
    width = student.facts.tower_width
    tokens = np.stack([view.tokens[view.row][:, -width:] for view in views])
    seen: Tensor = student.model.model.multi_modal_projector(torch.from_numpy(tokens).float())
    return seen


def embedded(student: Student, packed: Packed, image: Tensor) -> Tensor:
    """(B, T, D) input embeddings, with `image` (B, n, D) after the start token."""
    words = student.model.model.language_model.embed_tokens(packed.input_ids)
    return spliced(words, image)


def answer_loss(student: Student, reading: Reading, views: Sequence[View], rows: Rows) -> Tensor:
    """Mean next-token cross-entropy of the answers."""
    packed, hidden = reading.states(views, rows)
    wanted = packed.labels != IGNORE
    logits = student.model.lm_head(hidden[wanted])
    return nn.functional.cross_entropy(logits, packed.labels[wanted])


@torch.no_grad()
def accuracy(
    student: Student, reading: Reading, views: Sequence[View], *, batch_size: int = 40
) -> tuple[float, int]:
    """Share of questions whose greedy answer is exact, and how many there are."""
    right = asked = 0
    for first in range(0, len(views), batch_size):
        batch = views[first : first + batch_size]
        packed, hidden = reading.states(batch, [view.segments for view in batch])
        exact, num = exact_answers(student.model.lm_head(hidden).argmax(-1), packed)
        right, asked = right + exact, asked + num
    return right / max(1, asked), asked
