"""Builds the pair `tiny`: tower, token cache, student, teacher, and the folder that is shipped.

Stages leave their result below `work` and are not redone when it is there, so a build that was
stopped goes on where it was. Everything follows from the seed and the number of CPU threads.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import SiglipVisionModel

from driftline_lab.data.domains import DOMAINS, SOURCE
from driftline_lab.data.easyvqa import Part, facts_of, image_ids, read_picture
from driftline_lab.drift.table import DRIFTS
from driftline_lab.recipes.stages import Stages
from driftline_lab.recipes.tiny.card import Measured, write_card
from driftline_lab.recipes.tiny.evaluation import accuracy
from driftline_lab.recipes.tiny.export import export_probe, export_source
from driftline_lab.recipes.tiny.language import (
    STUDENT,
    TEACHER,
    LanguageSize,
    build_llava,
    load_checkpoint,
    save_checkpoint,
)
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.tokenizer import train_tokenizer
from driftline_lab.recipes.tiny.tower import TowerPlan, load_tower, train_tower
from driftline_lab.recipes.tiny.training import LanguagePlan, View, train_language
from driftline_lab.recipes.tiny.views import Gallery, fact_labels

TOWER_PLAN = TowerPlan(num_steps=1_200)
STUDENT_PLAN = LanguagePlan(num_steps=2_000, learning_rate=2e-3, seed=11)
TEACHER_PLAN = LanguagePlan(num_steps=2_800, learning_rate=1.5e-3, seed=12)
BROAD_PLAN = LanguagePlan(
    num_steps=2_600, learning_rate=1e-3, warmup_steps=100, questions_per_picture=4, seed=13
)
TEACHER_DRIFT_SEEDS = (0, 1)
"""Each train picture is seen through this many draws of every drift."""
AUGMENTED_DRAWS = range(6)
"""Each train picture is augmented this often; a draw is asked as often as a drift."""

DRIFTS_ONLY, BROAD = "teacher-drifts", "teacher-broad"
"""The teacher's two stages."""

TOKEN_SHARES = (1.0, 0.5, 0.25, 0.125)
_CHECKPOINT_STEPS = 500


def build_tiny(out: Path, stages: Stages) -> Measured:
    """Writes the pair into `out` and gives its accuracies."""
    tokenizer = train_tokenizer()
    with stages.timed("tower"):
        tower = _tower(stages)
    gallery = Gallery(
        folder=stages.work / "tokens", tower=tower, encoder=Encoder(tokenizer=tokenizer)
    )
    with stages.timed("student"):
        _language(stages, "student", STUDENT, STUDENT_PLAN, gallery, _own_views)
    with stages.timed("teacher"):
        _language(stages, DRIFTS_ONLY, TEACHER, TEACHER_PLAN, gallery, _drift_views)
    with stages.timed("broad teacher"):
        _language(stages, BROAD, TEACHER, BROAD_PLAN, gallery, _broad_views, start=DRIFTS_ONLY)
    out.mkdir(parents=True, exist_ok=True)
    export_source(out, tower)
    export_probe(out)
    for role, stage in (("teacher", BROAD), ("student", "student")):
        shutil.copytree(stages.work / stage, out / role, dirs_exist_ok=True)
    measured = measure(out, gallery)
    write_card(out / "README.md", measured, stages)
    return measured


def measure(out: Path, gallery: Gallery) -> Measured:
    """Accuracies of the shipped weights: {role: {token share: {domain: accuracy}}}."""
    tests = {name: gallery.views(name, Part.TEST) for name in DOMAINS}
    ends = {
        "start_id": int(gallery.encoder.tokenizer.bos_token_id),
        "pad_id": int(gallery.encoder.tokenizer.pad_token_id),
    }
    measured: Measured = {}
    for role in ("teacher", "student"):
        model = load_checkpoint(out / role)
        measured[role] = {
            share: {
                # The sweep of shares looks at the first 120 test pictures.
                name: accuracy(model, views if share == 1.0 else views[:120], share=share, **ends)
                for name, views in tests.items()
            }
            for share in TOKEN_SHARES
        }
    return measured


def _tower(stages: Stages) -> SiglipVisionModel:
    folder = stages.work / "tower"
    if not (folder / "model.safetensors").exists():
        ids = image_ids(Part.TRAIN)
        labels = np.array([fact_labels(facts_of(i)) for i in ids], dtype=np.int64)
        plan = replace(TOWER_PLAN, num_steps=stages.planned(TOWER_PLAN.num_steps), seed=stages.seed)
        pictures = np.stack([read_picture(i) for i in ids])
        report = stages.training("tower", plan.num_steps)
        train_tower(pictures, labels[:, 0], labels[:, 1], plan, report).save_pretrained(folder)
    return load_tower(folder)


def _own_views(gallery: Gallery) -> dict[str, list[View]]:
    """The source as the data set has it: its own pictures with its own questions."""
    return {SOURCE: gallery.views(SOURCE, Part.TRAIN)}


def _broad_views(gallery: Gallery) -> dict[str, list[View]]:
    """The train pictures augmented, and what the teacher has seen already, source twice as often:
    seven draws in thirteen are of what it must not forget.
    """
    augmented = {f"augmented-{draw}": gallery.augmented_views(draw) for draw in AUGMENTED_DRAWS}
    return augmented | {name: gallery.training_views(name) for name in DOMAINS}


def _drift_views(gallery: Gallery) -> dict[str, list[View]]:
    """Source (mirrored, too) and every drift, over the train pictures only, asked more than the
    data set asks.
    """
    plain, mirrored = (gallery.training_views(SOURCE, mirrored=m) for m in (False, True))
    drifted = {
        name: [
            view
            for drift_seed in TEACHER_DRIFT_SEEDS
            for view in gallery.training_views(name, drift_seed=drift_seed)
        ]
        for name in DRIFTS
    }
    return {SOURCE: plain + mirrored} | drifted


def _language(
    stages: Stages,
    role: str,
    size: LanguageSize,
    planned: LanguagePlan,
    gallery: Gallery,
    views_of: Callable[[Gallery], dict[str, list[View]]],
    *,
    start: str | None = None,
) -> None:
    """Trains one model and saves it below `work`; checkpoints lie beside it while it trains.

    `start`: the stage whose weights it goes on from; a model of fresh weights where there is none.
    """
    folder = stages.work / role
    if folder.exists():
        return
    part = folder.with_suffix(".part")
    plan = planned.resized(stages.planned(planned.num_steps), seed=planned.seed + stages.seed)
    tokenizer = gallery.encoder.tokenizer
    model = build_llava(size, tokenizer, gallery.tower, seed=plan.seed)
    if start is not None:
        model.load_state_dict(load_checkpoint(stages.work / start).state_dict())
    domains = views_of(gallery)
    show = stages.training(role, plan.num_steps)

    def report(step: int, loss: float) -> None:
        show(step, loss)
        if (step + 1) % _CHECKPOINT_STEPS == 0:
            save_checkpoint(part, model, tokenizer)

    train_language(
        model,
        domains,
        plan,
        report,
        start_id=int(tokenizer.bos_token_id),
        pad_id=int(tokenizer.pad_token_id),
    )
    save_checkpoint(part, model, tokenizer)
    part.rename(folder)
