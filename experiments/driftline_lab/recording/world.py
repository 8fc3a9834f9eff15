"""The questions of a world's stream, with pictures, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from driftline_device.runtime.runtime import Question
from driftline_device.sources.dataset import DatasetSource
from driftline_lab.data.streams import Segment
from driftline_lab.data.worlds import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """`passes` streams of `domains`, each with `questions` a domain at most, of rising seeds."""

    world: World
    domains: tuple[str, ...]
    questions: int
    passes: int
    seed: int


def num_questions(stream: Stream) -> int:
    """The most that there will be."""
    return stream.passes * len(stream.domains) * stream.questions


def world_questions(stream: Stream, scratch: Path) -> Iterator[tuple[str, Question]]:
    """(domain, question) in order; pictures are drawn into `scratch`, pass by pass."""
    parts = [Segment(domain=name, num_questions=stream.questions) for name in stream.domains]
    for number in range(stream.passes):
        folder = scratch / f"pass-{number}"
        stream.world.write(folder, parts, seed=stream.seed + number, num_test=1)
        for question in DatasetSource(folder / "stream.jsonl"):
            yield question.domain or "", question
