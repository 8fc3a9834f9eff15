"""Builds the pair `smol`: token cache, student, teacher, the student again, and the folder shipped.

Stages leave their result below `work` and are not redone when it is there; a training stage goes on
from its last checkpoint. Everything follows from the seed and the number of CPU threads.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from transformers import PreTrainedTokenizerFast

from driftline_lab.data.openmoji.views import STYLES, Style, Use
from driftline_lab.recipes.smol.card import write_card
from driftline_lab.recipes.smol.export import export_probe, export_source, export_spec
from driftline_lab.recipes.smol.learner import Learner
from driftline_lab.recipes.smol.lessons import Lessons, name_ids, segments_of
from driftline_lab.recipes.smol.measuring import Measured, measure
from driftline_lab.recipes.smol.pictures import cached_tokens, load_tower
from driftline_lab.recipes.smol.pruning import choose_layers
from driftline_lab.recipes.smol.training import Plan, train, warm_projector
from driftline_shared.assembly import smollm2
from driftline_shared.assembly.packages import Tensors
from driftline_shared.assembly.towers.efficientnet_lite import EfficientNetLiteModel

NUM_STUDENT_LAYERS = 10
STUDENT_RANK, TEACHER_RANK = 64, 16
STUDENT_PLAN = Plan(num_warm_steps=300, num_steps=450, learning_rate=1.2e-3)
TEACHER_PLAN = Plan(num_warm_steps=600, num_steps=550, learning_rate=8e-4)
HEALING_PLAN = Plan(num_warm_steps=0, num_steps=150, learning_rate=4e-4, seed=1)
VIEWS = {Use.TRAIN: 12, Use.TEST: 3}
"""How many views of each concept in each style."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What the stages share."""

    work: Path
    base: Tensors
    tokenizer: PreTrainedTokenizerFast
    tower: EfficientNetLiteModel
    layers: tuple[int, ...]
    seed: int
    share: float
    progress: Progress

    def bar(self, name: str, total: int) -> Callable[[int, float], None]:
        """A progress bar that also shows the loss, smoothed."""
        task = self.progress.add_task(name, total=total, loss="")
        smooth: list[float] = []

        def report(step: int, loss: float) -> None:
            smooth.append(loss if not smooth else 0.95 * smooth[-1] + 0.05 * loss)
            self.progress.update(task, completed=step + 1, loss=f"loss {smooth[-1]:.3f}")

        return report

    def views(self, use: Use) -> int:
        """Views of each concept; a trial takes its share of them, one at least."""
        return max(1, round(VIEWS[use] * self.share))

    def lessons(self, styles: tuple[Style, ...], use: Use) -> Lessons:
        """Questions, and the tokens of these styles."""
        tokens = {}
        for style in styles:
            task = self.progress.add_task(f"{style} {use}", total=None, loss="")
            show = partial(self._encoded, task)
            tokens[str(style)] = cached_tokens(
                self.work / "tokens", self.tower, style, use, self.views(use), show
            )
            self.progress.remove_task(task)
        return Lessons(segments=segments_of(self.tokenizer), tokens=tokens)

    def _encoded(self, task: TaskID, done: int, total: int) -> None:
        self.progress.update(task, completed=done, total=total)

    def learner(self, role: str) -> Learner:
        """A side with untrained changes."""
        torch.manual_seed(self.seed)
        if role == "teacher":
            every = range(smollm2.NUM_LAYERS)
            return Learner(self.base, every, rank=TEACHER_RANK, alpha=2.0 * TEACHER_RANK)
        return Learner(self.base, self.layers, rank=STUDENT_RANK, alpha=1.0 * STUDENT_RANK)


def build_smol(
    out: Path,
    *,
    seed: int = 0,
    work: Path | None = None,
    num_threads: int = 2,
    share: float = 1.0,
    console: Console | None = None,
) -> Measured:
    """Writes the pair into `out` and gives its accuracies; fitting (docs/models.md) completes it.

    `share` below 1 takes that share of steps and views, for a trial of the whole recipe. Raises
    PairError or ConfigError where a package of pretrained weights or drawings is missing.
    """
    torch.set_num_threads(num_threads)
    columns = (
        TextColumn("{task.description:>14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with tempfile.TemporaryDirectory() as scratch, Progress(*columns, console=console) as progress:
        bench = _bench(work or Path(scratch), seed, share, progress)
        source, all_styles = (Style.SOURCE,), STYLES
        with timed(bench.work, "tokens"):
            bench.lessons(all_styles, Use.TRAIN)
            bench.lessons(all_styles, Use.TEST)
        with timed(bench.work, "student"):
            _stage(bench, "student-own", STUDENT_PLAN, source)
        with timed(bench.work, "teacher"):
            _stage(bench, "teacher", TEACHER_PLAN, all_styles)
        with timed(bench.work, "distilling"):
            _stage(bench, "student", HEALING_PLAN, source, start="student-own", teacher="teacher")
        out.mkdir(parents=True, exist_ok=True)
        for role in ("teacher", "student"):
            learner = bench.learner(role)
            learner.load(bench.work / f"{role}.safetensors")
            learner.ship(out / f"{role}.safetensors")
        export_spec(out)
        export_source(out, bench.tower)
        export_probe(out)
        tests = bench.lessons(all_styles, Use.TEST)
        part = None if share >= 1 else max(8, round(share * len(tests.segments)))
        cache = bench.work / "checkpoints"
        measured = measure(out, tests, cache=cache, num_concepts=part)
        write_card(
            out / "README.md",
            measured,
            times_taken(bench.work),
            bench.layers,
            num_questions=sum(len(asked) for asked in tests.segments[:part]),
            num_threads=num_threads,
        )
        return measured


@contextmanager
def timed(work: Path, stage: str) -> Iterator[None]:
    """Adds the time a stage takes to what earlier runs took over it."""
    started, path = time.monotonic(), work / "seconds.json"
    yield
    seconds = times_taken(work)
    seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - started
    path.write_text(json.dumps(seconds))


def times_taken(work: Path) -> dict[str, float]:
    """Stage -> seconds, over all runs of this work folder."""
    path = work / "seconds.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _bench(work: Path, seed: int, share: float, progress: Progress) -> Bench:
    work.mkdir(parents=True, exist_ok=True)
    reader = smollm2.open_gguf()
    base, tokenizer = smollm2.read_language_model(reader), smollm2.tokenizer(reader)
    chosen = work / "layers.json"
    if not chosen.exists():
        chosen.write_text(json.dumps(choose_layers(base, tokenizer, NUM_STUDENT_LAYERS)))
    return Bench(
        work=work,
        base=base,
        tokenizer=tokenizer,
        tower=load_tower(),
        layers=tuple(json.loads(chosen.read_text())),
        seed=seed,
        share=share,
        progress=progress,
    )


def _stage(
    bench: Bench,
    name: str,
    planned: Plan,
    styles: tuple[Style, ...],
    *,
    start: str | None = None,
    teacher: str | None = None,
) -> None:
    """Trains one side and leaves `<name>.safetensors`; its checkpoint goes when it is done."""
    done = bench.work / f"{name}.safetensors"
    if done.exists():
        return
    plan = replace(planned, seed=planned.seed + bench.seed).shared(bench.share)
    checkpoint = bench.work / f"{name}.checkpoint.safetensors"
    learner = bench.learner(name)
    lessons = bench.lessons(styles, Use.TRAIN)
    told = None
    if teacher is not None:
        told = bench.learner(teacher).eval()
        told.load(bench.work / f"{teacher}.safetensors")
    if start is not None:
        learner.load(bench.work / f"{start}.safetensors")
    elif not checkpoint.exists():
        names = name_ids(bench.tokenizer)
        report = bench.bar(f"{name} warm", plan.num_warm_steps)
        warm_projector(learner, lessons, names, plan, report)
    report = bench.bar(name, plan.num_steps)
    train(learner, lessons, plan, report, teacher=told, checkpoint=checkpoint)
    part = done.with_suffix(".part")
    learner.save(part)
    part.rename(done)
    checkpoint.unlink()
