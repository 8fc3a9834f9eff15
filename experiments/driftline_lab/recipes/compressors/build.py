"""Trains one compressor into the student of a pair, measures it, and writes the new pair.

    upper       the student as it is, all visual tokens
    lower       the method with freshly drawn weights in the same student: no training at all
    x           the method after training
    retention   (x - lower) / (upper - lower)

which is VoCo-LLaMA's definition (arXiv 2406.12275, section 4.1), here over the source questions of
the test pictures, none of which was trained on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from driftline_lab.recipes.compressors.folder import (
    check_copyable,
    save_weights,
    weights_file,
    write_pair,
)
from driftline_lab.recipes.compressors.mod import ModReading
from driftline_lab.recipes.compressors.quecc import QueccReading, layered
from driftline_lab.recipes.compressors.reading import PlainReading, Reading, accuracy
from driftline_lab.recipes.compressors.student import (
    Lessons,
    Questions,
    Student,
    load_lessons,
    load_student,
)
from driftline_lab.recipes.compressors.training import train
from driftline_lab.recipes.compressors.voco import VocoReading
from driftline_lab.recipes.tiny.language import save_checkpoint
from driftline_lab.recipes.tiny.training import LanguagePlan
from driftline_lab.recipes.training import Report
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import Compression
from driftline_shared.models.compression.table import configured
from driftline_shared.pair.pair import load_pair

PLANS = {
    "voco": LanguagePlan(num_steps=1_600, learning_rate=1.5e-3, warmup_steps=40),
    "mod": LanguagePlan(num_steps=1_000, learning_rate=1e-3, warmup_steps=40),
    "quecc": LanguagePlan(
        num_steps=250, learning_rate=1.5e-3, warmup_steps=20, questions_per_picture=4
    ),
}
"""By method; the language model is trained already, so rates are below its own."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of it. `steps_before`: of the training that this one goes on with. Accuracies are
    shares of `num_questions` answered exactly; `seconds` are of training alone.
    """

    method: str
    options: dict[str, Any]
    pair: str
    seed: int
    questions: Questions
    num_steps: int
    steps_before: int
    num_visual: int
    num_questions: int
    upper: float
    lower: float
    x: float
    retention: float
    weight_bytes: int
    seconds: float


TRAINING = "training.json"
"""File of the new pair that holds its `Trained`."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """An earlier training: what came of it, and the method's weights."""

    trained: Trained
    weights: Mapping[str, Tensor]

    @property
    def num_steps(self) -> int:
        """Steps taken so far."""
        return self.trained.steps_before + self.trained.num_steps


def train_compressor(
    method: str,
    pair_name: str,
    out: Path,
    work: Path,
    *,
    options: Mapping[str, Any],
    seed: int = 0,
    share: float = 1.0,
    questions: Questions = "all",
    start: Path | None = None,
    report: Callable[[int], Report],
) -> Trained:
    """Writes the new pair into `out`, which is to be empty or new.

    `work`: token caches, and a checkpoint every 200 steps. `share` below 1 takes that share of the
    steps, for a trial. `report` is given the number of steps. Raises ConfigError for a method that
    has nothing to train here or wrong options, PairError for a pair that this recipe cannot read.
    `start`: what an earlier training wrote, to go on from; `upper` and `lower` stay those of the
    pair itself.
    """
    if method not in PLANS:
        raise ConfigError(f"nothing to train for {method!r}; known are {', '.join(sorted(PLANS))}")
    pair = load_pair(pair_name)
    check_copyable(pair, out)
    student = load_student(pair if start is None else load_pair(start))
    compression = configured(method, options, student.facts)
    if compression.options.keep >= 1.0:
        raise ConfigError(f"{method}: keep = 1 leaves all tokens as they are: nothing to train")
    before = None if start is None else read_start(start, pair.name, compression)
    plan = PLANS[method]
    plan = plan.resized(max(2, round(plan.num_steps * share)), seed=seed)
    lessons = load_lessons(student, work, questions)
    if "layers" in compression.kind.needs:
        lessons = layered(student, lessons, work)
    trained, reading = train_and_measure(
        student, lessons, compression, plan, work, report(plan.num_steps), before
    )
    trained = replace(trained, pair=pair.name, questions=questions)
    write_pair(pair, out, f"{pair.name}-{method}", method, student, reading.weights)
    (out / TRAINING).write_text(json.dumps(asdict(trained), indent=1) + "\n", encoding="utf-8")
    return trained


def train_and_measure(
    student: Student,
    lessons: Lessons,
    compression: Compression,
    plan: LanguagePlan,
    work: Path,
    report: Report,
    before: Start | None = None,
) -> tuple[Trained, Reading]:
    """Trains `student` in place; its weights are then those that a checkpoint stores.

    `before`: the training that made `student`, which is gone on with.
    """
    method = compression.name
    torch.manual_seed(plan.seed)
    if before is None:
        upper, num_questions = accuracy(student, PlainReading(student), lessons.test)
        reading = fresh_reading(student, compression, plan.seed)
        lower, _ = accuracy(student, reading, lessons.test)
    else:
        known = before.trained
        upper, lower, num_questions = known.upper, known.lower, known.num_questions
        reading = reading_of(student, compression, before.weights)
    part = work / f"{method}.part"

    def checkpoint(steps: int) -> None:
        save_checkpoint(part, student.model, student.tokenizer)
        save_weights(part / f"compressor.{method}.{steps}.safetensors", reading.weights)

    started = time.monotonic()
    train(student, reading, lessons.train, plan, report, checkpoint)
    seconds = time.monotonic() - started
    round_to_half(student)
    x, _ = accuracy(student, reading, lessons.test)
    trained = Trained(
        method=method,
        options=_plain(compression),
        pair="",
        seed=plan.seed,
        questions="all",
        num_steps=plan.num_steps,
        steps_before=0 if before is None else before.num_steps,
        num_visual=student.facts.grid.num_tokens,
        num_questions=num_questions,
        upper=upper,
        lower=lower,
        x=x,
        retention=(x - lower) / (upper - lower) if upper != lower else float("nan"),
        weight_bytes=sum(value.numel() * 4 for value in reading.weights.values()),
        seconds=round(seconds, 1),
    )
    return trained, reading


def read_start(folder: Path, pair: str, compression: Compression) -> Start:
    """An earlier training of the same method, options and pair. Raises ConfigError otherwise."""
    path = folder / TRAINING
    try:
        trained = Trained(**json.loads(path.read_text(encoding="utf-8")))
        weights = load_file(load_pair(folder).student_dir / weights_file(compression.name))
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ConfigError(
            f"{folder} holds no training to go on with ({error}): name what "
            "`driftline lab train-compressor` wrote"
        ) from error
    wanted = (compression.name, _plain(compression), pair)
    if (trained.method, trained.options, trained.pair) != wanted:
        raise ConfigError(
            f"{path} is of {trained.method} with {trained.options} on {trained.pair}, not of "
            f"{wanted[0]} with {wanted[1]} on {wanted[2]}"
        )
    return Start(trained=trained, weights=weights)


def _plain(compression: Compression) -> dict[str, Any]:
    return compression.options.model_dump(mode="json", exclude_none=True)


def fresh_reading(student: Student, compression: Compression, seed: int) -> Reading:
    """How `compression` reads packed rows, with weights drawn from `seed`."""
    weights = compression.kind.fresh_weights(compression.options, student.facts, seed)
    return reading_of(student, compression, weights)


def reading_of(
    student: Student, compression: Compression, weights: Mapping[str, Tensor]
) -> Reading:
    """How `compression` reads packed rows."""
    options: Any = compression.options
    if compression.name == "voco":
        return VocoReading(student, weights)
    if compression.name == "quecc":
        return QueccReading(student, options, weights)
    return ModReading(student, options, weights)


def round_to_half(student: Student) -> None:
    """Round all weights as the checkpoint stores them: what is measured is what is written.

    Buffers, such as the rotary frequencies, are not stored.
    """
    for parameter in student.model.parameters():
        parameter.data = parameter.data.half().float()
