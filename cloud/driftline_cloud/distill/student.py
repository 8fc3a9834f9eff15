"""The two models of a round: the teacher, and the student's twin (its quantized weights, exactly).

The twin holds what the device's language model holds after dequantization, in fp32, with the
adapter on top, so what is learnt here is right for the weights that will run there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from driftline_shared.errors import PairError
from driftline_shared.models import adapters
from driftline_shared.models.multimodal import MultimodalModel, load_student, load_teacher
from driftline_shared.models.pair import Pair, load_pair
from driftline_shared.update import Adapter


@dataclass(frozen=True, kw_only=True)
class Models:
    """A pair with both models loaded. One user at a time: the student's adapter is written to.

    `initial`: version 0. It is read while the student is fresh: the norms of a version 0 are the
    base's own, which the first write to the student replaces.
    """

    pair: Pair
    teacher: MultimodalModel
    student: MultimodalModel
    initial: Adapter


def load_models(pair_dir: Path, device: str = "cpu") -> Models:
    """Load teacher and twin. Raises PairError when they do not share a vocabulary."""
    pair = load_pair(pair_dir)
    teacher = load_teacher(pair, device)
    student = load_student(pair, twin=True, device=device)
    if teacher.vocab_size != student.vocab_size:
        raise PairError(
            f"teacher and student of {pair.name} have vocabularies of {teacher.vocab_size} and "
            f"{student.vocab_size} tokens; distillation needs one"
        )
    initial = adapters.read(student.model)
    return Models(pair=pair, teacher=teacher, student=student, initial=initial)


@contextmanager
def trained(model: MultimodalModel, start: Adapter) -> Iterator[dict[str, torch.nn.Parameter]]:
    """Inside, the adapter's parameters take gradients, beginning at `start`; nothing else does."""
    adapters.write(model.model, start)
    parameters = adapters.parameters(model.model)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    try:
        yield parameters
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(False)
            parameter.grad = None
