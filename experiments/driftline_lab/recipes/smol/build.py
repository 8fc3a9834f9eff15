"""Builds the pair `smol`: token cache, student, teacher, the student again, and the folder shipped.

Stages leave their result below `work` and are not redone when it is there; a training stage goes on
from its last checkpoint. Everything follows from the seed and the number of CPU threads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
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
from driftline_lab.recipes.stages import Stages
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
class Parts:
    """What the stages share: pretrained parts, and which layers the student keeps."""

    stages: Stages
    base: Tensors
    tokenizer: PreTrainedTokenizerFast
    tower: EfficientNetLiteModel
    layers: tuple[int, ...]

    def views(self, use: Use) -> int:
        """Views of each concept; a trial takes its share of them, one at least."""
        return max(1, round(VIEWS[use] * self.stages.share))

    def lessons(self, styles: tuple[Style, ...], use: Use) -> Lessons:
        """Questions, and the tokens of these styles."""
        tokens = {
            str(style): cached_tokens(
                self.stages.work / "tokens",
                self.tower,
                style,
                use,
                self.views(use),
                self.stages.progress(f"{style} {use}"),
            )
            for style in styles
        }
        return Lessons(segments=segments_of(self.tokenizer), tokens=tokens)

    def learner(self, role: str) -> Learner:
        """A side with untrained changes."""
        torch.manual_seed(self.stages.seed)
        if role == "teacher":
            every = range(smollm2.NUM_LAYERS)
            return Learner(self.base, every, rank=TEACHER_RANK, alpha=2.0 * TEACHER_RANK)
        return Learner(self.base, self.layers, rank=STUDENT_RANK, alpha=1.0 * STUDENT_RANK)


def build_smol(out: Path, stages: Stages) -> Measured:
    """Writes the pair into `out` and gives its accuracies; fitting (docs/models.md) completes it.

    A trial takes its share of the views, too. Raises PairError or ConfigError where a package of
    pretrained weights or drawings is missing.
    """
    parts = _parts(stages)
    source, all_styles = (Style.SOURCE,), STYLES
    with stages.timed("tokens"):
        parts.lessons(all_styles, Use.TRAIN)
        parts.lessons(all_styles, Use.TEST)
    with stages.timed("student"):
        _stage(parts, "student-own", STUDENT_PLAN, source)
    with stages.timed("teacher"):
        _stage(parts, "teacher", TEACHER_PLAN, all_styles)
    with stages.timed("distilling"):
        _stage(parts, "student", HEALING_PLAN, source, start="student-own", teacher="teacher")
    out.mkdir(parents=True, exist_ok=True)
    for role in ("teacher", "student"):
        learner = parts.learner(role)
        learner.load(stages.work / f"{role}.safetensors")
        learner.ship(out / f"{role}.safetensors")
    export_spec(out)
    export_source(out, parts.tower)
    export_probe(out)
    tests = parts.lessons(all_styles, Use.TEST)
    part = None if stages.share >= 1 else max(8, round(stages.share * len(tests.segments)))
    cache = stages.work / "checkpoints"
    measured = measure(out, tests, cache=cache, num_concepts=part)
    write_card(
        out / "README.md",
        measured,
        stages,
        parts.layers,
        num_questions=sum(len(asked) for asked in tests.segments[:part]),
    )
    return measured


def _parts(stages: Stages) -> Parts:
    reader = smollm2.open_gguf()
    base, tokenizer = smollm2.read_language_model(reader), smollm2.tokenizer(reader)
    chosen = stages.work / "layers.json"
    if not chosen.exists():
        chosen.write_text(
            json.dumps(choose_layers(base, tokenizer, NUM_STUDENT_LAYERS)), encoding="utf-8"
        )
    return Parts(
        stages=stages,
        base=base,
        tokenizer=tokenizer,
        tower=load_tower(),
        layers=tuple(json.loads(chosen.read_text(encoding="utf-8"))),
    )


def _stage(
    parts: Parts,
    name: str,
    planned: Plan,
    styles: tuple[Style, ...],
    *,
    start: str | None = None,
    teacher: str | None = None,
) -> None:
    """Trains one side and leaves `<name>.safetensors`; its checkpoint goes when it is done."""
    stages = parts.stages
    done = stages.work / f"{name}.safetensors"
    if done.exists():
        return
    plan = replace(planned, seed=planned.seed + stages.seed).shared(stages.share)
    checkpoint = stages.work / f"{name}.training.safetensors"
    learner = parts.learner(name)
    lessons = parts.lessons(styles, Use.TRAIN)
    guide = None
    if teacher is not None:
        guide = parts.learner(teacher).eval()
        guide.load(stages.work / f"{teacher}.safetensors")
    if start is not None:
        learner.load(stages.work / f"{start}.safetensors")
    elif not checkpoint.exists():
        names = name_ids(parts.tokenizer)
        report = stages.training(f"{name} warm", plan.num_warm_steps)
        warm_projector(learner, lessons, names, plan, report)
    report = stages.training(name, plan.num_steps)
    train(learner, lessons, plan, report, teacher=guide, checkpoint=checkpoint)
    part = done.with_suffix(".part")
    learner.save(part)
    part.rename(done)
    checkpoint.unlink()
