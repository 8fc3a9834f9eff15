"""Streams of drawn things: only seen concepts stream; tests tell seen and unseen apart.

A drift's tests are two domains, `lineart-seen` and `lineart-unseen` say. The source's is one, over
all concepts: a pair may have learnt all of them in colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

import numpy as np

from driftline_lab.data.openmoji.concepts import Concept, Role, concepts, role_of
from driftline_lab.data.openmoji.questions import questions
from driftline_lab.data.openmoji.views import VIEWS_PER_USE, Style, Use, render, view_of
from driftline_lab.data.streams import Segment, write_rows
from driftline_lab.drift.base import Picture

QUESTIONS_PER_VIEW = 3
"""Questions a stream asks about one picture; a test asks all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """What a world of drawings shows. `render`: (concept, style, view=) to (224, 224, 3) uint8, of
    a style by its name; `members`: the concepts that every style has.
    """

    members: tuple[Concept, ...]
    render: Callable[..., Picture]

    def of(self, role: Role) -> tuple[Concept, ...]:
        """The members of a role, in Unicode's order."""
        return tuple(concept for concept in self.members if role_of(concept) is role)


def openmoji() -> Drawn:
    """OpenMoji's own three styles, over all concepts."""
    return Drawn(members=concepts(), render=render)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One interaction: a view of a concept, and a question about it with its answer.

    `domain`: what a report calls it: the style, in a drift's test with the role.
    """

    domain: str
    segment: int
    style: str
    concept: Concept
    view: int
    question: str
    answer: str
    render: Callable[..., Picture] = field(compare=False, repr=False)

    @property
    def file(self) -> Path:
        """Below the stream's folder."""
        return Path("images") / self.style / f"{self.concept.code}-{self.view}.png"

    def picture(self) -> Picture:
        """(224, 224, 3) uint8, drawn when asked for."""
        return self.render(self.concept, self.style, view=self.view)


def stream(
    segments: Sequence[Segment], *, seed: int = 0, drawn: Drawn | None = None
) -> Iterator[Event]:
    """The segments in turn, over the seen concepts, as often as it takes, in new views each time.

    A segment's domain is a style. `drawn`: by default OpenMoji's.
    """
    chosen = drawn or openmoji()
    for number, segment in enumerate(segments):
        events = _asked(chosen, segment.domain, number, seed)
        yield from islice(events, segment.num_questions)


def held_out(
    style: str,
    roles: Sequence[Role],
    *,
    num_questions: int | None = None,
    seed: int = 0,
    drawn: Drawn | None = None,
) -> Iterator[Event]:
    """Test questions over the concepts of some roles, in views that no stream shows.

    Views and questions are the same for every stream; a limit takes them in an order drawn by
    `seed`, spread over all concepts.
    """
    chosen = drawn or openmoji()
    domain = str(style) if len(roles) > 1 else f"{style}-{roles[0]}"
    events = [
        Event(
            domain=domain,
            segment=0,
            style=str(style),
            concept=concept,
            view=view_of(Use.TEST, 0),
            question=question,
            answer=answer,
            render=chosen.render,
        )
        for role in roles
        for concept in chosen.of(role)
        for question, answer in questions(concept)
    ]
    order = np.random.default_rng([seed, 3]).permutation(len(events))
    return (events[index] for index in islice(order, num_questions))


def held_out_of_all(
    style: str, *, num_questions: int | None = None, seed: int = 0, drawn: Drawn | None = None
) -> Iterator[Event]:
    """`held_out` over seen and unseen concepts together."""
    return held_out(style, list(Role), num_questions=num_questions, seed=seed, drawn=drawn)


def write_drawn_stream(
    folder: Path, segments: Sequence[Segment], drawn: Drawn, *, seed: int, num_test: int
) -> None:
    """Writes the stream; `num_test` test questions of seen concepts and as many of unseen ones for
    each drifted style; and `num_test` for the source. There are no more than a concept has.
    """
    drifts = dict.fromkeys(s.domain for s in segments if s.domain != Style.SOURCE)
    write_rows(folder, "stream.jsonl", stream(segments, seed=seed, drawn=drawn))
    tests = (
        event
        for style in drifts
        for role in Role
        for event in held_out(style, [role], num_questions=num_test, seed=seed, drawn=drawn)
    )
    write_rows(folder, "test.jsonl", tests)
    source = held_out_of_all(Style.SOURCE, num_questions=num_test, seed=seed, drawn=drawn)
    write_rows(folder, "source_test.jsonl", source)


def write_openmoji_stream(
    folder: Path, segments: Sequence[Segment], *, seed: int = 0, num_test: int = 400
) -> None:
    """`write_drawn_stream` of OpenMoji's own three styles."""
    write_drawn_stream(folder, segments, openmoji(), seed=seed, num_test=num_test)


def _asked(drawn: Drawn, style: str, segment: int, seed: int) -> Iterator[Event]:
    """Without end: pass after pass over the seen concepts, one new view of each in a pass."""
    members = drawn.of(Role.SEEN)
    for number in count():
        rng = np.random.default_rng([seed, 1, segment, number])
        events: list[Event] = []
        for concept in members:
            view = view_of(Use.STREAM, int(rng.integers(VIEWS_PER_USE)))
            rows = questions(concept)
            events.extend(
                Event(
                    domain=style,
                    segment=segment,
                    style=style,
                    concept=concept,
                    view=view,
                    question=rows[index][0],
                    answer=rows[index][1],
                    render=drawn.render,
                )
                for index in rng.permutation(len(rows))[:QUESTIONS_PER_VIEW]
            )
        # Questions of one picture do not come in a row: a camera's owner does not ask like that.
        for index in rng.permutation(len(events)):
            yield events[index]
