"""Which logits and which answer steps of teacher and student mean the same.

With one vocabulary all do, except for the rows that pad an output layer. With two, the student is
taught in its own tokens throughout: `RespelledTeacher` takes and gives answers in the student's
ids, and `Matching` says what may be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_cloud.distill.settings import DistilSettings
from driftline_shared.callbacks import OnToken
from driftline_shared.models.multimodal import (
    Generated,
    LmBatch,
    MultimodalModel,
    WrappedModel,
)
from driftline_shared.models.vocabulary.spelling import Spelling
from driftline_shared.models.vocabulary.vocabulary import Vocabularies


class Matching:
    """What of two models' outputs can be compared, for the vocabularies of one pair."""

    def __init__(self, vocabularies: Vocabularies, spelling: Spelling | None = None) -> None:
        """`spelling`: None exactly where the vocabulary is the same."""
        self.vocabularies = vocabularies
        self._spelling = spelling
        ends = vocabularies.mode == "shared"
        self._student = _Columns(
            vocabularies.student_ids, vocabularies.student.ends if ends else ()
        )
        self._teacher = _Columns(
            vocabularies.teacher_ids, vocabularies.teacher.ends if ends else ()
        )

    def settings(self, settings: DistilSettings) -> DistilSettings:
        """Without the terms that have nothing to compare: text alone is enough for a1 only."""
        if self.vocabularies.mode == "sequence":
            return settings.model_copy(update={"a2": 0.0, "a4": 0.0})
        return settings

    def steps(
        self, student_ids: Sequence[int], teacher_ids: Sequence[int]
    ) -> tuple[Tensor, Tensor] | None:
        """Steps of one answer, pairwise (m,) int64, that are compared; None: each with its own."""
        if self._spelling is None:
            return None
        ours, theirs = self._spelling.steps(student_ids, teacher_ids)
        return torch.tensor(ours, dtype=torch.long), torch.tensor(theirs, dtype=torch.long)

    def step_share(self, answers: Sequence[Sequence[int]]) -> float:
        """Share of the steps of `answers` (student ids) that are compared; 1 without any."""
        if self.vocabularies.mode == "sequence":
            return 0.0
        total = sum(len(answer) for answer in answers)
        if self._spelling is None or not total:
            return 1.0
        spelling = self._spelling
        found = sum(len(spelling.steps(one, spelling.to_teacher(one))[0]) for one in answers)
        return found / total

    def of_student(self, logits: Tensor) -> Tensor:
        """(n, C_s) -> (n, S): the student's logits of the strings in common."""
        return self._student.of(logits)

    def of_teacher(self, logits: Tensor) -> Tensor:
        """(n, C_t) -> (n, S): the teacher's, in the same order."""
        return self._teacher.of(logits)


class _Columns:
    """Columns of logits; the last is the sum over `ends`, where there is more than one."""

    def __init__(self, ids: NDArray[np.int64], ends: Sequence[int]) -> None:
        self._ids = torch.from_numpy(ids)
        self._ends = torch.tensor(ends, dtype=torch.long)
        # All ids from 0 on, as nearly always: a slice copies nothing.
        self._plain = len(ends) < 2 and bool((ids == np.arange(len(ids))).all())

    def of(self, logits: Tensor) -> Tensor:
        if self._plain:
            return logits[:, : len(self._ids)]
        chosen = logits[:, self._ids.to(logits.device)]
        if len(self._ends) < 2:
            return chosen
        end = torch.logsumexp(logits[:, self._ends.to(logits.device)], dim=1, keepdim=True)
        return torch.cat([chosen[:, :-1], end], dim=1)


class RespelledTeacher(WrappedModel):
    """A teacher behind the MultimodalModel protocol whose answers are ids of the student.

    Logits and hidden states stay its own: at the steps of its own tokens, over its own vocabulary.
    """

    def __init__(self, teacher: MultimodalModel, spelling: Spelling) -> None:
        super().__init__(teacher)
        self._spelling = spelling

    def batch(
        self,
        projected: Tensor,
        positions: Tensor,
        questions: Sequence[str],
        answers: Sequence[Sequence[int]] | None = None,
    ) -> LmBatch:
        """See `MultimodalModel.batch`; `answers` are the student's ids, labels the teacher's."""
        own = None
        if answers is not None:
            own = [self._spelling.to_teacher(answer) for answer in answers]
        return self.wrapped.batch(projected, positions, questions, own)

    def generate(
        self, batch: LmBatch, max_new_tokens: int, on_token: OnToken | None = None
    ) -> Generated:
        """See `MultimodalModel.generate`; `tokens` are the student's ids, as many at most, while
        probabilities and lengths are of the teacher's own steps.
        """
        generated = self.wrapped.generate(batch, max_new_tokens, on_token)
        tokens = [self._spelling.to_student(row)[:max_new_tokens] for row in generated.tokens]
        return replace(generated, tokens=tokens)

    def answer_ids(self, text: str) -> list[int]:
        """See `MultimodalModel.answer_ids`; the student's."""
        return self._spelling.to_student(self.wrapped.answer_ids(text))

    def decode(self, ids: Sequence[int]) -> str:
        """See `MultimodalModel.decode`; of the student's ids."""
        return self.wrapped.decode(self._spelling.to_teacher(ids))
