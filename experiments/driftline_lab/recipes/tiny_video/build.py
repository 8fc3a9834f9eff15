"""Builds the video reference model: tower, token cache, language model, and its folder.

Stages leave their result below `work` and are not redone when it is there; the language model goes
on from its last checkpoint. Everything follows from the seed and the number of CPU threads.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import SiglipVisionModel

from driftline_lab.data.tiny_video.clips import NUM_FRAMES, Example, Part, examples
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.tower import TowerPlan
from driftline_lab.recipes.tiny.training import LanguagePlan
from driftline_lab.recipes.tiny_video.baselines import BASELINES, train_baseline
from driftline_lab.recipes.tiny_video.card import Card, write_card
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bench:
    work: Path
    seed: int
    share: float
    progress: Progress

    def planned(self, number: int) -> int:
        return max(2, round(number * self.share))

    def bar(self, name: str, total: int) -> Callable[[int, float], None]:
        """A progress bar, and a line in `log.txt` every 50 steps."""
        task = self.progress.add_task(name, total=total)
        started, seen = time.monotonic(), [0.0, 0.0]

        def report(step: int, loss: float) -> None:
            seen[0], seen[1] = seen[0] + loss, seen[1] + 1
            self.progress.update(task, completed=step + 1)
            if (step + 1) % 50 == 0:
                seconds = time.monotonic() - started
                with (self.work / "log.txt").open("a", encoding="utf-8") as log:
                    log.write(f"{name} {step + 1} loss {seen[0] / seen[1]:.4f} {seconds:.0f} s\n")
                seen[:] = [0.0, 0.0]

        return report


def build_tiny_video(
    out: Path,
    *,
    seed: int = 0,
    work: Path | None = None,
    num_threads: int = 2,
    share: float = 1.0,
    console: Console | None = None,
) -> None:
    """Writes the checkpoint folder `out`.

    `share` below 1 takes that share of the clips and training steps, for a trial of the recipe.
    """
    torch.set_num_threads(num_threads)
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with tempfile.TemporaryDirectory() as scratch, Progress(*columns, console=console) as progress:
        bench = _Bench(work=work or Path(scratch), seed=seed, share=share, progress=progress)
        bench.work.mkdir(parents=True, exist_ok=True)
        seconds: dict[str, float] = {}
        with timed(seconds, "tower"):
            tower = _tower(bench)
        with timed(seconds, "clips"):
            clips = _clips(bench, tower, Part.TRAIN, NUM_TRAIN_CLIPS)
            tested = _clips(bench, tower, Part.TEST, NUM_TEST_CLIPS)
        with timed(seconds, "language model"):
            shutil.copytree(_language(bench, tower, clips), out, dirs_exist_ok=True)
        rows = _measured(out, bench.planned(NUM_TEST_CLIPS))
        with timed(seconds, "baselines"):
            rows |= _baselines(bench, tower, clips, tested)
        rows["commonest answer"] = commonest(clips, tested)
        card = Card(
            seed=seed,
            num_clips=len(clips.questions),
            num_steps=bench.planned(LANGUAGE_PLAN.num_steps),
            num_dropped=bench.planned(NUM_DROPPED_STEPS),
            least_kept=LEAST_KEPT,
            halved=SHARE_OF_HALVED,
            num_tested=len(tested.questions),
            num_asked=sum(map(len, tested.questions)),
            baseline_steps=bench.planned(NUM_BASELINE_STEPS),
            rows=rows,
            seconds=seconds,
            num_threads=num_threads,
        )
        write_card(out / "README.md", card)


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Notes how long a stage took; a stage found finished takes next to nothing."""
    started = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - started


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
    bench: _Bench, tower: SiglipVisionModel, trained: CachedClips, tested: CachedClips
) -> dict[str, Accuracies]:
    path = bench.work / "baselines.json"
    rows: dict[str, Accuracies] = json.loads(path.read_text()) if path.exists() else {}
    plan = LANGUAGE_PLAN.resized(bench.planned(NUM_BASELINE_STEPS), seed=30 + bench.seed)
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
            bench.bar(name, plan.num_steps),
            bench.work / f"{name.replace(' ', '-')}.safetensors",
        )
        path.write_text(json.dumps(rows))
    return rows


def _clips(bench: _Bench, tower: SiglipVisionModel, part: Part, planned: int) -> CachedClips:
    number = bench.planned(planned)
    task = bench.progress.add_task(f"{part} clips", total=1.0)
    return cache_clips(
        bench.work / "clips",
        tower,
        part,
        number,
        lambda d: bench.progress.update(task, completed=d),
    )


def _tower(bench: _Bench) -> SiglipVisionModel:
    folder = bench.work / "tower"
    if not (folder / "model.safetensors").exists():
        plan = TowerPlan(
            num_steps=bench.planned(TOWER_PLAN.num_steps),
            learning_rate=TOWER_PLAN.learning_rate,
            seed=bench.seed,
        )
        frames, labels = draw_frames(Part.TRAIN, 0, bench.planned(NUM_TOWER_CLIPS), every=4)
        report = bench.bar("tower", plan.num_steps)
        tune_tower(tower_of_tiny(), frames, labels, plan, report).save_pretrained(folder)
    tower: SiglipVisionModel = SiglipVisionModel.from_pretrained(folder)
    # Rounded as it is shipped, so that cached tokens are those of the shipped tower.
    return tower.half().float().eval().requires_grad_(False)


def _language(bench: _Bench, tower: SiglipVisionModel, clips: CachedClips) -> Path:
    folder = bench.work / "model"
    if folder.exists():
        return folder
    plan = LANGUAGE_PLAN.resized(
        bench.planned(LANGUAGE_PLAN.num_steps), seed=LANGUAGE_PLAN.seed + bench.seed
    )
    tokenizer = train_tokenizer()
    model = build_model(tokenizer, tower, seed=plan.seed)
    whole = plan.num_steps - bench.planned(NUM_DROPPED_STEPS)
    halved = clips.through(slice(None, None, 2))
    stages = (
        Stage(clips=halved, stop=round(SHARE_OF_HALVED * whole)),
        Stage(clips=clips, stop=whole),
        Stage(clips=clips, stop=plan.num_steps, least_kept=LEAST_KEPT),
    )
    train_language(
        model,
        stages,
        plan,
        Encoder(tokenizer=tokenizer),
        bench.bar("language", plan.num_steps),
        bench.work / "language.safetensors",
    )
    part = folder.with_suffix(".part")
    save_checkpoint(part, model, tokenizer)
    part.rename(folder)
    return folder
