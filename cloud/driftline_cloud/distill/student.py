"""The two models of a round: the teacher, and the student's twin (its quantized weights, exactly).

The twin holds what the device's language model holds after dequantization, in fp32, with the
adapter on top, so what is learnt here is right for the weights that will run there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
import torch

from driftline_cloud.distill.matching import Matching, RespelledTeacher
from driftline_cloud.distill.settings import DistilSettings
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.adapters import slots
from driftline_shared.models.compression.loading import (
    check_compressor,
    compressed,
)
from driftline_shared.models.compression.table import METHODS
from driftline_shared.models.fit.translation import TRANSLATOR_FILE, num_merged
from driftline_shared.models.fit.translator import TranslatedTeacher, load_translator
from driftline_shared.models.loading import load_student, load_teacher
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.models.vocabulary.spelling import Spelling
from driftline_shared.models.vocabulary.vocabulary import Vocabularies, compare
from driftline_shared.pair.pair import Pair, load_pair, token_space_digest
from driftline_shared.update import Adapter

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Models:
    """A pair with both models loaded. One user at a time: the student's adapter is written to.

    `initial`: version 0. It is read while the student is fresh: the norms of a version 0 are the
    base's own, which the first write to the student replaces. `own`: the teacher reading its own
    tower's tokens, where `teacher` reads the device's in another way; None where both share one.
    `matching`: what of the two models' outputs can be compared.
    """

    pair: Pair
    teacher: MultimodalModel
    student: MultimodalModel
    initial: Adapter
    matching: Matching
    own: MultimodalModel | None = None

    def settings(self, values: Mapping[str, object]) -> DistilSettings:
        """Of a job, for these models: what the job leaves out as the pair names it, without the
        terms that have nothing to compare. Raises ConfigError.
        """
        found = DistilSettings.from_mapping(values).of_pair(self.pair.spec.distillation.settings)
        return self.matching.settings(found)


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """The teacher's side of a pair, as in `Models`; `vocabularies`, `spelling`: how its answers are
    written in the student's ids.
    """

    pair: Pair
    teacher: MultimodalModel
    own: MultimodalModel | None
    vocabularies: Vocabularies
    spelling: Spelling | None


def load_teaching(pair_dir: Path, device: str = "cpu") -> Teaching:
    """Load the teacher, and what stands between it and the student: a translator, two vocabularies.

    Raises PairError when it cannot be taught from as the pair's file says.
    """
    pair = load_pair(pair_dir)
    teacher = load_teacher(pair, device)
    own = None
    if pair.spec.translator is not None:
        own, teacher = teacher, _translated(pair, teacher)
    elif token_space_digest(pair.teacher_dir) != pair.token_space.digest:
        raise PairError(
            f"teacher and student of {pair.name} have different vision towers, and its file has "
            "no [translator]: run `driftline models fit-token-space`, or use checkpoints that "
            "share a tower"
        )
    vocabularies = compare(pair.student_dir, pair.teacher_dir, pair.spec.distillation.vocabulary)
    spelling = Spelling(vocabularies) if vocabularies.mode != "same" else None
    if spelling is not None:
        teacher = RespelledTeacher(teacher, spelling)
        own = RespelledTeacher(own, spelling) if own is not None else None
    return Teaching(
        pair=pair, teacher=teacher, own=own, vocabularies=vocabularies, spelling=spelling
    )


def load_models(pair_dir: Path, device: str = "cpu") -> Models:
    """Load teacher and twin, and what stands between them. Raises PairError as `load_teaching`."""
    teaching = load_teaching(pair_dir, device)
    pair, vocabularies = teaching.pair, teaching.vocabularies
    student = load_student(pair, twin=True, device=device)
    _log.info(
        "student.vocabularies",
        pair=pair.name,
        mode=vocabularies.mode,
        shared_share=round(vocabularies.shared_share, 4),
        meaning=vocabularies.sentence,
    )
    return Models(
        pair=pair,
        teacher=teaching.teacher,
        student=student,
        initial=slots.read(student.model),
        matching=Matching(vocabularies, teaching.spelling),
        own=teaching.own,
    )


def _translated(pair: Pair, teacher: MultimodalModel) -> MultimodalModel:
    """The teacher behind the pair's translator, which it says in the log."""
    grid, spec = pair.token_space.grid, pair.spec.translator
    translator = load_translator(pair.dir / TRANSLATOR_FILE, grid, teacher.grid)
    if translator.student_width != pair.token_space.width:
        raise PairError(
            f"the translator of {pair.name} reads {translator.student_width} channels, devices "
            f"send {pair.token_space.width}; run `driftline models fit-token-space`"
        )
    _log.info(
        "tokens.translated",
        pair=pair.name,
        kind=translator.kind,
        relative_error=spec.relative_error if spec is not None else None,
        device_tokens=grid.num_tokens,
        merged_tokens=num_merged(grid, teacher.grid),
    )
    return TranslatedTeacher(teacher, translator)


def check_compression(pair: Pair, settings: DistilSettings) -> None:
    """Raises ConfigError where the student of `pair` cannot read samples as `settings` say."""
    choice = settings.compressor_choice
    if choice is None:
        return
    check_compressor(pair.student_dir, choice)
    if METHODS[choice.name].compressor.works_in_tower():
        raise ConfigError(
            f"distil.compressor: {choice.name} works in the vision tower, which the cloud does not "
            'run: leave it empty and set upload_from = "survivors" on the devices, whose samples '
            "then hold what the student was given to read"
        )


def as_on_devices(models: Models, settings: DistilSettings) -> Models:
    """`models` with the student reading through the devices' compressor, where they have one.

    Raises ConfigError as `check_compression`.
    """
    choice = settings.compressor_choice
    if choice is None:
        return models
    check_compression(models.pair, settings)
    student = compressed(models.student, models.pair.student_dir, choice)
    return replace(models, student=student)


@contextmanager
def trained(model: MultimodalModel, start: Adapter) -> Iterator[dict[str, torch.nn.Parameter]]:
    """Inside, the adapter's parameters take gradients, beginning at `start`; nothing else does."""
    slots.write(model.model, start)
    parameters = slots.parameters(model.model)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    try:
        yield parameters
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(False)
            parameter.grad = None
