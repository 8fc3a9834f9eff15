"""Worlds: which one a demo streams, and which domains it has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from driftline_lab.data.streams import Segment
from driftline_lab.data.worlds import (
    BOARDS,
    EASYVQA,
    OPENMOJI,
    WORLDS,
    World,
    world_for,
    world_named,
)
from driftline_shared.errors import ConfigError
from driftline_shared.pair.pair import load_draft


@pytest.mark.parametrize(
    ("name", "pair", "expected"),
    [
        (None, "tiny", EASYVQA),
        (None, "smol", OPENMOJI),
        (None, "boards", BOARDS),
        (None, "somebody's", EASYVQA),
        ("openmoji", "tiny", OPENMOJI),
        ("easyvqa", "smol", EASYVQA),
    ],
)
def test_a_pair_has_its_world_unless_another_is_named(
    name: str | None, pair: str, expected: World
) -> None:
    assert world_named(name, pair=pair) is expected


def test_a_pair_given_by_its_folder_has_the_same_world(tmp_path: Path) -> None:
    shutil.copy(load_draft("boards").file, tmp_path)
    assert world_for(None, pair=tmp_path) is world_for(None, pair="boards") is BOARDS
    assert world_for("openmoji", pair="not looked at") is OPENMOJI


def test_an_unknown_world_is_told_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="easyvqa, openmoji, emoji, boards"):
        world_named("mars", pair="tiny")


@pytest.mark.parametrize("world", WORLDS.values())
def test_the_default_stream_starts_at_the_source_and_drifts(world: World) -> None:
    assert world.domains[0] == "source"
    assert world.domains_of(None) == world.segments
    assert world.segments[0] == "source"
    assert len(world.segments) > 1
    assert set(world.segments) <= set(world.domains)


@pytest.mark.parametrize("world", [EASYVQA, OPENMOJI, BOARDS])
def test_what_streams_and_what_tests_are_of_the_world_and_apart(world: World) -> None:
    drift = world.segments[-1]
    wanted = [Segment(domain="source", num_questions=7), Segment(domain=drift, num_questions=9)]
    events = list(world.stream(wanted, seed=3))
    assert [event.segment for event in events] == [0] * 7 + [1] * 9
    tests = list(world.held_out(drift, num_questions=9, seed=3))
    assert len(tests) == 9
    assert {event.domain for event in (*events[7:], *tests)} == {drift}
    assert not {event.file for event in events} & {event.file for event in tests}
    assert list(world.stream(wanted, seed=3)) == events


def test_domains_are_those_of_the_world() -> None:
    assert OPENMOJI.domains_of("source, photo") == ("source", "photo")
    with pytest.raises(ConfigError, match=r"night.*openmoji.*lineart"):
        OPENMOJI.domains_of("source,night")
    with pytest.raises(ConfigError, match=r"did you mean 'night'. the domains"):
        EASYVQA.domains_of("source,nigth")
    with pytest.raises(ConfigError, match="segments"):
        EASYVQA.domains_of(",")


def test_drifts_are_domains_without_the_source() -> None:
    assert EASYVQA.drifts_of("") == ("night", "sketch")
    assert EASYVQA.drifts_of("fog,source, fog") == ("fog",)
    with pytest.raises(ConfigError, match=r"no drift; those of openmoji are lineart, photo"):
        OPENMOJI.drifts_of("source")
    with pytest.raises(ConfigError, match="nosuch"):
        OPENMOJI.drifts_of("nosuch")
