"""The world `emoji` shows what all designers have drawn, each in its own way in the same place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from driftline_lab.data.emoji.packages import PACKAGES
from driftline_lab.data.emoji.stream import DESIGNS, emoji
from driftline_lab.data.openmoji.concepts import Role
from driftline_lab.data.openmoji.stream import held_out, stream
from driftline_lab.data.openmoji.views import Use, render, view_of
from driftline_lab.data.streams import Segment
from driftline_shared.errors import ConfigError
from tests.fakes.icon_packages import CONCEPTS

VIEW = view_of(Use.TEST, 0)


def test_members_are_what_every_designer_has_drawn() -> None:
    drawn = emoji()
    assert set(drawn.members) == set(CONCEPTS[:-1])
    assert set(drawn.of(Role.SEEN)) == set(CONCEPTS[:5])


@pytest.mark.parametrize("design", DESIGNS)
def test_a_design_is_drawn_the_same_each_time_and_unlike_the_source(design: str) -> None:
    drawn, concept = emoji(), CONCEPTS[0]
    first, again = (drawn.render(concept, design, view=VIEW) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == ((224, 224, 3), np.uint8)
    source = render(concept, "source", view=VIEW)
    assert np.array_equal(first, source) == (design == "source")


def test_six_segments_stream_seen_things_and_tests_tell_the_roles_apart() -> None:
    drawn = emoji()
    parts = [Segment(domain=design, num_questions=8) for design in DESIGNS]
    events = list(stream(parts, seed=2, drawn=drawn))
    assert [event.domain for event in events[::8]] == list(DESIGNS)
    assert {event.concept for event in events} <= set(drawn.of(Role.SEEN))
    tested = {e.concept for e in held_out("noto", [Role.UNSEEN], drawn=drawn)}
    assert tested == set(drawn.of(Role.UNSEEN))


def test_a_missing_package_is_told_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="driftline lab fetch emoji"):
        emoji(tmp_path)
    assert list(PACKAGES) == ["twemoji", "noto", "fluent", "contrast"]
