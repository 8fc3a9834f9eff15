"""What is measured: a model with its held-out questions, as it is and behind each method."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from driftline_lab.bench.compression.plan import Cell
from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.compression.compressed_model import CompressedModel
from driftline_shared.models.compression.loading import compressed, weights_file
from driftline_shared.models.compression.table import METHODS
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model, load_student, load_teacher
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import load_pair
from driftline_shared.program.compressor import CompressorChoice

Side = Literal["teacher", "student"]
Task = Literal["easyvqa", "openmoji", "tiny-video"]

TINY_VIDEO: Task = "tiny-video"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question about a picture (H, W, 3) or a clip (F, H, W, 3), uint8, with its answer.

    `kind`: what it asks about, where the data set says so.
    """

    image: NDArray[np.uint8]
    question: str
    answer: str
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model as loaded from `folder`. `task`: which of `questions` are asked about it."""

    name: str
    model: FamilyModel
    folder: Path
    max_new_tokens: int
    task: Task

    @property
    def reads_clips(self) -> bool:
        """Whether its pictures are clips."""
        return self.task == TINY_VIDEO

    def lacks(self, cell: Cell) -> bool:
        """Whether the method was to be trained and was not, for this checkpoint."""
        trained = METHODS[cell.method].trained
        return trained and not weights_file(self.folder, cell.method).is_file()

    def behind(self, cell: Cell) -> CompressedModel:
        """The model with a method; ConfigError where it does not fit or lacks trained weights."""
        return compressed(
            self.model,
            self.folder,
            CompressorChoice(name=cell.method, options=cell.options),
        )


def load_subject(name: str, side: Side) -> Subject:
    """`tiny-video`, a folder with such a checkpoint, or one side of a pair, in floating point.

    Raises ConfigError for what is none of them, PairError for a model that cannot be compressed.
    """
    folder = Path(name)
    if name == TINY_VIDEO or ((folder / "config.json").is_file() and not _is_pair(folder)):
        return _video(name)
    pair = load_pair(name)
    teacher = side == "teacher"
    return Subject(
        name=f"{pair.name} {side}",
        model=_family(load_teacher(pair) if teacher else load_student(pair, twin=True)),
        folder=pair.teacher_dir if teacher else pair.student_dir,
        max_new_tokens=pair.max_new_tokens,
        # Trained compressors come as pairs of their own, named after the pair they are made of.
        task="openmoji" if pair.name.startswith("smol") else "easyvqa",
    )


def questions(subject: Subject, number: int, seed: int) -> list[Asked]:
    """`number` held-out test questions, drawn by `seed`; no model was trained on any."""
    asked = {"easyvqa": _easyvqa, "openmoji": _openmoji, TINY_VIDEO: _clips}[subject.task]
    return list(itertools.islice(asked(number, seed), number))


def _video(name: str) -> Subject:
    from driftline_lab.recipes.tiny_video import model as recipe

    folder = recipe.shipped_folder() if name == TINY_VIDEO else Path(name)
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model: {folder} holds no checkpoint of {TINY_VIDEO}")
    loaded = load_model(folder, prompt=recipe.PROMPT, canvas=recipe.CANVAS)
    return Subject(
        name=TINY_VIDEO if name == TINY_VIDEO else folder.name,
        model=_family(loaded),
        folder=folder,
        max_new_tokens=recipe.MAX_ANSWER_TOKENS,
        task="tiny-video",
    )


def _family(model: MultimodalModel) -> FamilyModel:
    if not isinstance(model, FamilyModel):
        raise PairError(f"{type(model).__name__} is no checkpoint of a family")
    return model


def _is_pair(folder: Path) -> bool:
    return any(folder.glob("*.toml"))


def _easyvqa(number: int, seed: int) -> Iterator[Asked]:
    from driftline_lab.data.easyvqa import Part, examples, read_picture

    rows = list(examples(Part.TEST))
    for index in _drawn(len(rows), seed):
        row = rows[index]
        yield Asked(image=read_picture(row.image_id), question=row.question, answer=row.answer)


def _openmoji(number: int, seed: int) -> Iterator[Asked]:
    from driftline_lab.data.openmoji.concepts import Role
    from driftline_lab.data.openmoji.questions import CAPTION_QUESTION
    from driftline_lab.data.openmoji.stream import held_out
    from driftline_lab.data.openmoji.views import Style

    for event in held_out(Style.SOURCE, list(Role), seed=seed):
        # A caption has many right wordings; exact match is no measure of it.
        if event.question != CAPTION_QUESTION:
            yield Asked(image=event.picture(), question=event.question, answer=event.answer)


def _clips(number: int, seed: int) -> Iterator[Asked]:
    from driftline_lab.data.tiny_video.clips import Part, clips

    # Questions about one clip come together; a draw from twice as many shows more clips.
    rows = clips(Part.TEST, 2 * number)
    for index in _drawn(len(rows), seed):
        row = rows[index]
        yield Asked(image=row.clip, question=row.question, answer=row.answer, kind=str(row.kind))


def _drawn(number: int, seed: int) -> Sequence[int]:
    return [int(index) for index in np.random.default_rng(seed).permutation(number)]
