"""Models that see less, trained by the same recipe: what the questions give away without a clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerFast, SiglipVisionModel

from driftline_lab.data.tiny_video.clips import NUM_FRAMES
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.training import LanguagePlan
from driftline_lab.recipes.tiny_video.clip_cache import CachedClips
from driftline_lab.recipes.tiny_video.evaluation import Accuracies, packed_accuracy
from driftline_lab.recipes.tiny_video.model import build_model
from driftline_lab.recipes.tiny_video.training import Stage, train_language
from driftline_lab.recipes.training import Report

Sight = Callable[[CachedClips], CachedClips]


def _blind(clips: CachedClips) -> CachedClips:
    """One frame of zeros."""
    seen = only(-1)(clips)
    number, _, patches, width = clips.tokens.shape
    blank = np.zeros((number, 1, patches, width), dtype=np.float16)
    labels = {name: rows[:, -1:] for name, rows in clips.labels.items()}
    return replace(seen, tokens=blank, labels=labels, frames=slice(None))


def only(frame: int) -> Sight:
    """One frame of each clip, with all its questions."""
    return lambda clips: replace(clips, frames=slice(frame, frame + 1 or None))


BASELINES: dict[str, Sight] = {
    "middle frame only": only(NUM_FRAMES // 2),
    "last frame only": only(-1),
    "blind": _blind,
}


def train_baseline(
    sight: Sight,
    trained: CachedClips,
    tested: CachedClips,
    plan: LanguagePlan,
    tokenizer: PreTrainedTokenizerFast,
    tower: SiglipVisionModel,
    report: Report,
    checkpoint: Path,
) -> Accuracies:
    """Accuracies of a model of the same size that sees only what `sight` leaves of each clip."""
    encoder = Encoder(tokenizer=tokenizer)
    model = build_model(tokenizer, tower, seed=plan.seed)
    stages = (Stage(clips=sight(trained), stop=plan.num_steps),)
    train_language(model, stages, plan, encoder, report, checkpoint)
    return packed_accuracy(model, sight(tested), encoder)
