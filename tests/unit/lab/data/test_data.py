"""The splits are disjoint and the same everywhere; streams are deterministic and round-trip."""

from __future__ import annotations

from itertools import islice

import numpy as np

from driftline_lab.data.domains import DOMAINS
from driftline_lab.data.easyvqa import Part, examples, facts_of, image_ids, read_picture
from driftline_lab.data.streams import Segment, held_out, stream

SEGMENTS = (
    Segment(domain="source", num_questions=20),
    Segment(domain="night", num_questions=30),
    Segment(domain="reworded", num_questions=10),
)


def test_parts_are_disjoint_and_cover_the_data_set() -> None:
    parts = [set(image_ids(part)) for part in Part]
    assert [len(part) for part in parts] == [3000, 300, 700, 1000]
    assert set.union(*parts) == set(range(5000))
    assert sum(1 for part in Part for _ in examples(part)) == 48_248


def test_pictures_are_small_and_coloured_and_facts_agree_with_the_answers() -> None:
    for part in Part:
        assert read_picture(image_ids(part)[0]).shape == (64, 64, 3)
        for example in islice(examples(part), 200):
            facts = facts_of(example.image_id)
            if example.question.startswith("what"):
                assert example.answer in (facts.shape, facts.colour)


def test_segments_share_no_picture_and_none_with_the_test() -> None:
    events = list(stream(SEGMENTS, seed=0))
    by_segment = [{e.image_id for e in events if e.segment == number} for number in range(3)]
    assert not by_segment[0] & by_segment[1]
    assert not by_segment[1] & by_segment[2]
    tested = {event.image_id for event in held_out("night", num_questions=100)}
    assert not tested & set.union(*by_segment)
    assert tested <= set(image_ids(Part.TEST))


def test_a_stream_is_drawn_lazily_and_matches_its_domain() -> None:
    event = next(iter(stream(SEGMENTS[1:], seed=2)))
    np.testing.assert_array_equal(event.picture(), DOMAINS["night"].picture(event.image_id, seed=2))
