"""Streams: what a device meets, segment after segment, and how one is written to a folder.

A written stream is a folder with `stream.jsonl`, `test.jsonl` and `source_test.jsonl`, whose rows
are `{"image": path below the folder, "question", "answer", "domain"}`, and the pictures as PNG.
`driftline demo --data` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from driftline_lab.data.corrupted import ALL_DOMAINS
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.easyvqa import Example, Part, image_ids
from driftline_lab.drift.base import Picture


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A stretch of a stream that stays in one domain."""

    domain: str
    num_questions: int


class Interaction(Protocol):
    """A row to be: a question about a picture with its answer; the picture is drawn when asked.

    `segment`: of the stream, from 0; 0 in a test.
    """

    @property
    def domain(self) -> str: ...
    @property
    def segment(self) -> int: ...
    @property
    def question(self) -> str: ...
    @property
    def answer(self) -> str: ...

    @property
    def file(self) -> Path:
        """The picture's file below the stream's folder: one file, one picture."""

    def picture(self) -> Picture:
        """(H, W, 3) uint8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One interaction: a picture of a domain, and a question about it with its answer."""

    domain: str
    segment: int
    image_id: int
    question: str
    answer: str
    seed: int

    @property
    def file(self) -> Path:
        """Below the stream's folder."""
        return Path("images") / self.domain / f"{self.image_id:04d}.png"

    def picture(self) -> Picture:
        """(64, 64, 3) uint8, drawn when asked for."""
        return ALL_DOMAINS[self.domain].picture(self.image_id, seed=self.seed)


def stream(segments: Sequence[Segment], *, seed: int = 0) -> Iterator[Event]:
    """The segments in turn, each over its own share of the `stream` pictures, shuffled by `seed`.

    No picture is in two segments; a segment that wants more questions than its share of pictures
    has ends early.
    """
    order = np.random.default_rng([seed, 1]).permutation(image_ids(Part.STREAM))
    shares = np.array_split(order, max(1, len(segments)))
    for number, (segment, share) in enumerate(zip(segments, shares, strict=True)):
        events = _events(segment.domain, [int(i) for i in share], number, seed)
        # Questions of one picture do not come in a row: a camera's owner does not ask like that.
        shuffled = np.random.default_rng([seed, 2, number]).permutation(len(events))
        for index in islice(shuffled, segment.num_questions):
            yield events[index]


def held_out(domain: str, *, num_questions: int | None = None, seed: int = 0) -> Iterator[Event]:
    """Test questions of a domain, over pictures that no stream shows; the same for every stream.

    A limit takes questions in an order drawn by `seed`, spread over all pictures.
    """
    events = _events(domain, image_ids(Part.TEST), 0, seed)
    order = np.random.default_rng([seed, 3]).permutation(len(events))
    return (events[index] for index in islice(order, num_questions))


def write_stream(
    folder: Path, segments: Sequence[Segment], *, seed: int = 0, num_test: int = 400
) -> None:
    """Writes the stream, `num_test` test questions for each drifted domain, and for the source."""
    domains = dict.fromkeys(s.domain for s in segments if s.domain != SOURCE)
    write_rows(folder, "stream.jsonl", stream(segments, seed=seed))
    tests = (e for d in domains for e in held_out(d, num_questions=num_test, seed=seed))
    write_rows(folder, "test.jsonl", tests)
    write_rows(folder, "source_test.jsonl", held_out(SOURCE, num_questions=num_test, seed=seed))


def _events(domain: str, ids: Iterable[int], segment: int, seed: int) -> list[Event]:
    rows: Iterator[Example] = (
        row for image_id in ids for row in ALL_DOMAINS[domain].questions(image_id, seed=seed)
    )
    return [
        Event(
            domain=domain,
            segment=segment,
            image_id=row.image_id,
            question=row.question,
            answer=row.answer,
            seed=seed,
        )
        for row in rows
    ]


def write_rows(folder: Path, name: str, events: Iterable[Interaction]) -> None:
    """Write the file `name` of a stream's folder, and the pictures that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", encoding="utf-8") as rows:
        for event in events:
            path = event.file
            if not (folder / path).exists():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                # Speed over size: the noise of a photograph does not compress anyway.
                Image.fromarray(event.picture()).save(folder / path, compress_level=1)
            row = {
                "image": path.as_posix(),
                "question": event.question,
                "answer": event.answer,
                "domain": event.domain,
            }
            rows.write(json.dumps(row) + "\n")
