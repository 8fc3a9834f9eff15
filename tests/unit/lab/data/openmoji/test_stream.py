"""Streams of OpenMoji's things: repeatable, blind to unseen concepts, apart from their tests."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from driftline_lab.data.openmoji.concepts import Role, concepts, role_of
from driftline_lab.data.openmoji.questions import questions
from driftline_lab.data.openmoji.stream import held_out, stream
from driftline_lab.data.openmoji.views import Style, Use, view_of
from driftline_lab.data.streams import Segment

SEGMENTS = (
    Segment(domain="source", num_questions=40),
    Segment(domain="lineart", num_questions=1500),
    Segment(domain="photo", num_questions=60),
)


def test_no_unseen_concept_streams_and_every_seen_one_does() -> None:
    streamed = {event.concept for event in stream(SEGMENTS[1:2])}
    assert {role_of(concept) for concept in streamed} == {Role.SEEN}
    assert streamed == set(concepts(Role.SEEN))


def test_a_stream_shows_stream_views_and_a_test_shows_test_views() -> None:
    streamed = {event.view for event in stream(SEGMENTS)}
    tested = {event.view for style in Style for event in held_out(style, list(Role))}
    assert min(streamed) >= view_of(Use.STREAM, 0)
    assert max(streamed) < view_of(Use.TEST, 0) <= min(tested)


def test_a_thing_that_comes_again_looks_new_and_its_questions_come_apart() -> None:
    events = list(stream(SEGMENTS[1:2]))
    views = {(event.concept.code, event.view) for event in events}
    assert len(views) > 2 * len(concepts(Role.SEEN))
    rows_in_a_row = sum(a.file == b.file for a, b in pairwise(events))
    assert rows_in_a_row < 0.02 * len(events)


@pytest.mark.parametrize("role", Role)
def test_a_drifts_test_is_over_one_role_with_all_its_questions(role: Role) -> None:
    events = list(held_out(Style.LINEART, [role]))
    assert {event.domain for event in events} == {f"lineart-{role}"}
    assert len(events) == sum(len(questions(concept)) for concept in concepts(role))
    assert {event.concept for event in events} == set(concepts(role))


def test_a_limited_test_is_a_part_of_the_whole_one() -> None:
    limited = list(islice(held_out(Style.PHOTO, [Role.SEEN], num_questions=30, seed=1), 31))
    assert len(limited) == 30
    whole = {(e.file, e.question, e.answer) for e in held_out(Style.PHOTO, [Role.SEEN])}
    assert {(e.file, e.question, e.answer) for e in limited} <= whole
    assert len({event.concept for event in limited}) > 15
