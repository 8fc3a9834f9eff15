"""The student's twin in the device's place: the device's own session over the cloud's copy.

Its weights are the device's, dequantized, in fp32: the same answers but for last bits, many times
as fast on a CPU as quantized products.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_cloud.distill.agreement import agree
from driftline_cloud.distill.examples import Example
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_device.runtime.runtime import Answer
from driftline_device.runtime.torch.session import Student, TorchSession
from driftline_lab.experiments.material import Asked
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import VisualTokens


class TwinSession(TorchSession):
    """Answers and scores of `models.student` under whatever adapter was written to it last."""

    def __init__(self, models: Models, *, max_batch: int) -> None:
        student = Student(models.pair, models.student, upload_from="all", max_batch=max_batch)
        super().__init__(student, slots.ACTIVE, 0, models.pair.ik_head)

    def serve(self, version: int) -> None:
        """Answers are of `version` from here on."""
        self._version = version


def ask(session: TwinSession, pair: Pair, rows: Sequence[Asked]) -> list[Answer]:
    """Greedy answers from all tokens, in order."""
    grid = pair.token_space.grid
    positions = np.arange(grid.num_tokens, dtype=np.int32)
    tokens = [VisualTokens(values=row.values, positions=positions, grid=grid) for row in rows]
    return session.answer_tokens(tokens, [row.question for row in rows])


def accuracy(model: MultimodalModel, rows: Sequence[Asked], settings: DistilSettings) -> float:
    """Share of questions whose true answer is what greedy generation writes, from all tokens.

    One teacher-forced pass and no generation, see `agreement.agree`.
    """
    examples = [
        example(row.values, row.question, tuple(model.answer_ids(row.truth))) for row in rows
    ]
    with torch.inference_mode():
        return agree(model, examples, settings).share


def example(values: NDArray[np.float32], question: str, answer: tuple[int, ...]) -> Example:
    """A question with all tokens of its picture and an answer."""
    positions = np.arange(len(values), dtype=np.int64)
    return Example(values=values, positions=positions, question=question, answer=answer)
