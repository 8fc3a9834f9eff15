"""A small trace of a random pair, and what replays it in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from driftline_device.runtime.runtime import Question
from driftline_lab.recording.record import RecordingPlan, record
from driftline_lab.replay.settings import ReplayOptions
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import SamplingPolicy
from tests.fakes.tiny_pair import ANSWERS, QUESTIONS, random_image

EVERYTHING = SamplingPolicy(
    gate_quantile=0.01,
    token_scorer="magnitude",
    token_share=0.5,
    max_sample_share=1.0,
    repeat_distance=0.0,
)
"""Nearly every answer becomes a sample, also of a picture that comes again."""

QUICK_CLOUD: dict[str, object] = {
    "rounds.trigger.round_samples": 12,
    "rounds.trigger.drift_share": 0.0,
    "distil.threads": 1,
    "distil.min_steps": 1,
    "distil.max_steps": 2,
    "distil.extra_questions": 0,
    "distil.num_source_rows": 8,
    "distil.gate_source_rows": 8,
    "distil.batch_size": 4,
    "distil.memory_batch_size": 4,
    "distil.confidence_floor": 0.0,
    "gate.sure_of_gain": 0.0,
    "gate.sure_of_harm": 1.0,
    "gate.sure_of_source_harm": 1.0,
    "gate.max_step_ratio": 100.0,
}
"""Rounds of two steps whose candidates always pass."""


NO_ROUNDS: dict[str, object] = {
    "rounds.trigger.round_samples": 1_000,
    "rounds.trigger.drift_share": 0.0,
}


def questions(count: int) -> Iterator[tuple[str, Question]]:
    """Random pictures, two segments."""
    for number in range(count):
        segment = ("day", "night")[number >= count // 2]
        question = Question(
            image=random_image(number % 7),
            text=QUESTIONS[number % 3],
            truth=ANSWERS[number % 3],
            domain=segment,
        )
        yield segment, question


def record_small(folder: Path, pair: Path, *, count: int = 30, **plan: Any) -> Path:
    """A trace of `count` answers, one every half second."""
    values: dict[str, Any] = {"seed": 0, "policy": EVERYTHING, **plan}
    record(folder, load_pair(pair), questions(count), RecordingPlan(**values))
    return folder


def quick_options(pair: Path, **changes: Any) -> ReplayOptions:
    """Options for a replay of such a trace."""
    values: dict[str, Any] = {"pair": str(pair), "cloud_settings": QUICK_CLOUD, **changes}
    return ReplayOptions(**values)
