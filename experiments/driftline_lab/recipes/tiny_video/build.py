"""Builds the video reference model: tower, token cache, language model, and its folder.

Stages leave their result below `work` and are not redone when it is there; the language model goes
on from its last checkpoint. Everything follows from the seed and the number of CPU threads.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from transformers import SiglipVisionModel

from driftline_lab.data.tiny_video.clips import NUM_FRAMES, Example, Part, examples
from driftline_lab.recipes.stages import Stages
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.tower import TowerPlan, load_tower
from driftline_lab.recipes.tiny.training import LanguagePlan
from driftline_lab.recipes.tiny_video.baselines import BASELINES, train_baseline
from driftline_lab.recipes.tiny_video.card import write_card
from driftline_lab.recipes.tiny_video.clip_cache import CachedClips, cache_clips, draw_frames
from driftline_lab.recipes.tiny_video.evaluation import Accuracies, accuracy, commonest
from driftline_lab.recipes.tiny_video.model import (
    CANVAS,
    PROMPT,
    build_model,
    save_checkpoint,
    train_tokenizer,
)
from driftline_lab.recipes.tiny_video.tower import tower_of_tiny, tune_tower
from driftline_lab.recipes.tiny_video.training import Stage, train_language
from driftline_shared.models.loading import load_model

TOWER_PLAN = TowerPlan(num_steps=500, learning_rate=6e-4)
NUM_TOWER_CLIPS = 1_500
NUM_TRAIN_CLIPS = 5_000

NUM_DROPPED_STEPS = 5_150
LEAST_KEPT = 0.15
"""The last steps read a random part of each clip's visual tokens, this share at least."""

LANGUAGE_PLAN = LanguagePlan(
    num_steps=2_250 + NUM_DROPPED_STEPS,
    learning_rate=1.5e-3,
    questions_per_picture=6,
    warmup_steps=100,
    auxiliary_weight=3.0,
    seed=21,
)
SHARE_OF_HALVED = 0.67
"""Share of the steps before those that read every other frame only: they cost a third."""

NUM_BASELINE_STEPS = 300
NUM_TEST_CLIPS = 300
MEASURED_FRAMES = (NUM_FRAMES, NUM_FRAMES // 2, 2 * NUM_FRAMES)


def build_tiny_video(out: Path, stages: Stages) -> None:
    """Writes the checkpoint folder `out`; a trial takes its share of the clips, too."""
    with stages.timed("tower"):
        tower = _tower(stages)
    with stages.timed("clips"):
        clips = _clips(stages, tower, Part.TRAIN, NUM_TRAIN_CLIPS)
        tested = _clips(stages, tower, Part.TEST, NUM_TEST_CLIPS)
    with stages.timed("language model"):
        shutil.copytree(_language(stages, tower, clips), out, dirs_exist_ok=True)
    rows = _measured(out, stages.planned(NUM_TEST_CLIPS))
    with stages.timed("baselines"):
        rows |= _baselines(stages, tower, clips, tested)
    rows["commonest answer"] = commonest(clips, tested)
    numbers = {
        "seed": stages.seed,
        "clips": len(clips.questions),
        "steps": stages.planned(LANGUAGE_PLAN.num_steps),
        "dropped": stages.planned(NUM_DROPPED_STEPS),
        "least": LEAST_KEPT,
        "halved": SHARE_OF_HALVED,
        "tested": len(tested.questions),
        "asked": sum(map(len, tested.questions)),
        "baseline_steps": stages.planned(NUM_BASELINE_STEPS),
    }
    write_card(out / "README.md", rows, stages, numbers)


def _measured(folder: Path, num_clips: int) -> dict[str, Accuracies]:
    """Accuracies of a checkpoint folder on clips of several lengths."""
    rows = {}
    for num_frames in MEASURED_FRAMES:
        canvas = replace(CANVAS, frames=num_frames)
        model = load_model(folder, prompt=PROMPT, canvas=canvas)
        rows[f"`tiny-video`, {num_frames} frames"] = accuracy(model, _asked(num_clips, num_frames))
    return rows


def _asked(num_clips: int, num_frames: int) -> list[Example]:
    return list(
        takewhile(lambda e: e.index < num_clips, examples(Part.TEST, num_frames=num_frames))
    )


def _baselines(
    stages: Stages, tower: SiglipVisionModel, trained: CachedClips, tested: CachedClips
) -> dict[str, Accuracies]:
    path = stages.work / "baselines.json"
    rows: dict[str, Accuracies] = (
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    )
    plan = LANGUAGE_PLAN.resized(stages.planned(NUM_BASELINE_STEPS), seed=30 + stages.seed)
    for name, sight in BASELINES.items():
        if name in rows:
            continue
        rows[name] = train_baseline(
            sight,
            trained,
            tested,
            plan,
            train_tokenizer(),
            tower,
            stages.training(name, plan.num_steps),
            stages.work / f"{name.replace(' ', '-')}.safetensors",
        )
        path.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def _clips(stages: Stages, tower: SiglipVisionModel, part: Part, planned: int) -> CachedClips:
    progress = stages.progress(f"{part} clips")
    return cache_clips(stages.work / "clips", tower, part, stages.planned(planned), progress)


def _tower(stages: Stages) -> SiglipVisionModel:
    folder = stages.work / "tower"
    if not (folder / "model.safetensors").exists():
        plan = replace(TOWER_PLAN, num_steps=stages.planned(TOWER_PLAN.num_steps), seed=stages.seed)
        frames, labels = draw_frames(Part.TRAIN, 0, stages.planned(NUM_TOWER_CLIPS), every=4)
        report = stages.training("tower", plan.num_steps)
        tune_tower(tower_of_tiny(), frames, labels, plan, report).save_pretrained(folder)
    return load_tower(folder)


def _language(stages: Stages, tower: SiglipVisionModel, clips: CachedClips) -> Path:
    folder = stages.work / "model"
    if folder.exists():
        return folder
    plan = LANGUAGE_PLAN.resized(
        stages.planned(LANGUAGE_PLAN.num_steps), seed=LANGUAGE_PLAN.seed + stages.seed
    )
    tokenizer = train_tokenizer()
    model = build_model(tokenizer, tower, seed=plan.seed)
    whole = plan.num_steps - stages.planned(NUM_DROPPED_STEPS)
    halved = clips.through(slice(None, None, 2))
    readings = (
        Stage(clips=halved, stop=round(SHARE_OF_HALVED * whole)),
        Stage(clips=clips, stop=whole),
        Stage(clips=clips, stop=plan.num_steps, least_kept=LEAST_KEPT),
    )
    train_language(
        model,
        readings,
        plan,
        Encoder(tokenizer=tokenizer),
        stages.training("language", plan.num_steps),
        stages.work / "language.safetensors",
    )
    part = folder.with_suffix(".part")
    save_checkpoint(part, model, tokenizer)
    part.rename(folder)
    return folder
