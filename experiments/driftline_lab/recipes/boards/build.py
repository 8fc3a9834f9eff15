"""Builds the pair `boards`: tower, token caches, student, teacher, and the folder that is shipped.

Stages leave their result below `work` and are not redone when it is there; a training goes on from
its last checkpoint. Everything follows from the seed and the number of CPU threads.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration, SiglipVisionModel

from driftline_lab.data.boards.domains import DOMAINS, SOURCE, TAUGHT
from driftline_lab.data.boards.views import Use, view_of
from driftline_lab.recipes.boards.card import write_card
from driftline_lab.recipes.boards.evaluation import Measured, accuracy
from driftline_lab.recipes.boards.export import export_probe, export_source
from driftline_lab.recipes.boards.language import STUDENT, TEACHER, build_model
from driftline_lab.recipes.boards.pair_file import fit, write_pair_file
from driftline_lab.recipes.boards.token_cache import Boards, cached_boards, read_boards
from driftline_lab.recipes.boards.tokenizer import train_tokenizer
from driftline_lab.recipes.boards.tower import train_tower
from driftline_lab.recipes.boards.training import BoardsPlan, Encoder, train_language
from driftline_lab.recipes.stages import Stages
from driftline_lab.recipes.tiny.language import LanguageSize, save_checkpoint
from driftline_lab.recipes.tiny.tower import TowerPlan, load_tower

TOWER_PLAN = TowerPlan(num_steps=600, batch_size=32)
STUDENT_PLAN = BoardsPlan(num_steps=900, learning_rate=2.5e-3, first_steps=120, seed=21)
TEACHER_PLAN = BoardsPlan(num_steps=1_600, learning_rate=2e-3, first_steps=200, seed=22)
STUDENT_VIEWS = 3_000
TEACHER_VIEWS = 1_200
"""Train views of each domain."""

TEST_VIEWS = 60
_VIEWS_OF_MEAN = 200


def build_boards(out: Path, stages: Stages) -> Measured:
    """Writes the pair into `out` and gives its accuracies."""
    encoder = Encoder(train_tokenizer())
    with stages.timed("tower"):
        tower = _tower(stages)
    _language(stages, "student", STUDENT, STUDENT_PLAN, tower, encoder, (SOURCE,), STUDENT_VIEWS)
    _language(stages, "teacher", TEACHER, TEACHER_PLAN, tower, encoder, TAUGHT, TEACHER_VIEWS)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("teacher", "student"):
        shutil.copytree(stages.work / name, out / name, dirs_exist_ok=True)
    export_source(out, tower)
    export_probe(out)
    write_pair_file(out)
    calibrated = fit(out, stages.progress("gate"))
    measured = measure(out, tower, encoder, stages.planned(TEST_VIEWS))
    write_card(out / "README.md", measured, calibrated, stages)
    return measured


def measure(out: Path, tower: SiglipVisionModel, encoder: Encoder, num_views: int) -> Measured:
    """Accuracies of the shipped weights on test views of every domain."""
    numbers = [view_of(Use.TEST, i) for i in range(num_views)]
    tests = [read_boards(tower, domain, numbers) for domain in DOMAINS]
    return {
        role: {boards.domain: accuracy(model, boards, encoder) for boards in tests}
        for role in ("teacher", "student")
        for model in [
            LlavaForConditionalGeneration.from_pretrained(out / role, dtype=torch.float32)
        ]
    }


def _tower(stages: Stages) -> SiglipVisionModel:
    folder = stages.work / "tower"
    if not (folder / "model.safetensors").exists():
        plan = replace(TOWER_PLAN, num_steps=stages.planned(TOWER_PLAN.num_steps), seed=stages.seed)
        train_tower(plan, stages.training("tower", plan.num_steps)).save_pretrained(folder)
    return load_tower(folder)


def _language(
    stages: Stages,
    role: str,
    size: LanguageSize,
    planned: BoardsPlan,
    tower: SiglipVisionModel,
    encoder: Encoder,
    domains: Sequence[str],
    num_views: int,
) -> None:
    """Trains one model and saves it below `work`; its checkpoint lies beside it meanwhile."""
    folder = stages.work / role
    if folder.exists():
        return
    with stages.timed(role):
        plan = planned.resized(stages.planned(planned.num_steps), seed=planned.seed + stages.seed)
        shown = _views(stages, f"tokens-{role}", tower, domains, stages.planned(num_views))
        some = shown[0].tokens[:_VIEWS_OF_MEAN]
        model = build_model(size, encoder.tokenizer, tower, some, seed=plan.seed)
        checkpoint = stages.work / f"{role}.safetensors"
        report = stages.training(role, plan.num_steps)
        train_language(model, shown, plan, encoder, report, checkpoint=checkpoint)
        part = folder.with_suffix(".part")
        save_checkpoint(part, model, encoder.tokenizer)
        part.rename(folder)


def _views(
    stages: Stages, name: str, tower: SiglipVisionModel, domains: Sequence[str], number: int
) -> list[Boards]:
    numbers = [view_of(Use.TRAIN, i) for i in range(number)]
    return [cached_boards(stages.work / name, tower, domain, numbers) for domain in domains]
