"""Streams of boards, and held-out tests of each domain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np

from driftline_lab.data.boards.domains import DOMAINS, SOURCE
from driftline_lab.data.boards.drawings import sprites
from driftline_lab.data.boards.questions import Asked, Kind
from driftline_lab.data.boards.views import VIEWS_PER_USE, Use, asked_of, view, view_of
from driftline_lab.data.streams import Segment, write_rows
from driftline_lab.drift.base import Picture

QUESTIONS_PER_VIEW = 3
_VIEWS_PER_PASS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One interaction: a view of a domain and a question about it."""

    domain: str
    segment: int
    image_id: int
    asked: Asked

    @property
    def question(self) -> str:
        return self.asked.question

    @property
    def answer(self) -> str:
        return self.asked.answer

    @property
    def kind(self) -> Kind:
        return self.asked.kind

    @property
    def file(self) -> Path:
        """Below the stream's folder."""
        return Path("images") / self.domain / f"{self.image_id}.png"

    def picture(self) -> Picture:
        """(128, 128, 3) uint8, drawn when asked for."""
        return view(self.domain, self.image_id).picture


def stream(segments: Sequence[Segment], *, seed: int = 0) -> Iterator[Event]:
    """The segments in turn, in new views all the time."""
    for number, segment in enumerate(segments):
        yield from islice(_asked(segment.domain, number, seed), segment.num_questions)


def held_out(domain: str, *, num_questions: int | None = None, seed: int = 0) -> Iterator[Event]:
    """Test questions over views that no stream shows; the same views for every stream.

    A limit takes three questions of each of so many views as it takes, in an order drawn by `seed`.
    """
    limit = 400 if num_questions is None else num_questions
    views = [view_of(Use.TEST, i) for i in range(-(-limit // QUESTIONS_PER_VIEW))]
    events = _events(domain, views, 0)
    order = np.random.default_rng([seed, 3]).permutation(len(events))
    return (events[index] for index in islice(order, limit))


def write_boards_stream(
    folder: Path, segments: Sequence[Segment], *, seed: int = 0, num_test: int = 400
) -> None:
    """Writes the stream, `num_test` test questions for each drifted domain, and for the source."""
    domains = dict.fromkeys(s.domain for s in segments if s.domain != SOURCE)
    # Before anything is written: a set that cannot be told apart is no world.
    for name in {one for domain in (SOURCE, *domains) for one in DOMAINS[domain].sets}:
        sprites(name)
    write_rows(folder, "stream.jsonl", stream(segments, seed=seed))
    tests = (e for d in domains for e in held_out(d, num_questions=num_test, seed=seed))
    write_rows(folder, "test.jsonl", tests)
    write_rows(folder, "source_test.jsonl", held_out(SOURCE, num_questions=num_test, seed=seed))


def _asked(domain: str, segment: int, seed: int) -> Iterator[Event]:
    """Without end: pass after pass over drawn views, shuffled within a pass."""
    for number in count():
        rng = np.random.default_rng([seed, 1, segment, number])
        drawn = rng.integers(VIEWS_PER_USE, size=_VIEWS_PER_PASS)
        events = _events(domain, [view_of(Use.STREAM, int(i)) for i in drawn], segment)
        # Questions of one picture do not come in a row: a camera's owner does not ask like that.
        for index in rng.permutation(len(events)):
            yield events[index]


def _events(domain: str, views: Sequence[int], segment: int) -> list[Event]:
    return [
        Event(domain=domain, segment=segment, image_id=number, asked=asked)
        for number in views
        for asked in asked_of(domain, number, QUESTIONS_PER_VIEW)
    ]
