"""A trace as it is written, read and appended to."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_shared.errors import ConfigError, DataError, Reason
from driftline_shared.trace.manifest import EVENTS, FILE, JOURNAL, Subject, read_manifest
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.writer import PartLimits, open_writer, recover
from tests.fakes.clock import FakeClock
from tests.fakes.traces import SUBJECT, answer_event, write_trace


def test_events_come_back_in_parts(tmp_path: Path) -> None:
    events = write_trace(tmp_path, 120, part_rows=50)
    assert events == [answer_event(number, sequence=number) for number in range(120)]
    trace = open_trace(tmp_path)
    assert [part.rows for part in trace.manifest.parts] == [50, 50, 20]
    assert sorted(path.name for path in (tmp_path / EVENTS).iterdir()) == [
        part.name for part in trace.manifest.parts
    ]
    assert not trace.unfinished
    assert trace.manifest.subject == SUBJECT


def test_a_second_run_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    write_trace(tmp_path, 20)
    events = write_trace(tmp_path, 20, first=20)
    assert [event.sequence for event in events] == list(range(40))
    assert len(open_trace(tmp_path).manifest.parts) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"pair": "smol"},
        {"base_model": "c" * 64},
        {"token_space": "c" * 64},
        {"source": "camera:1"},
        {"recorder": "cloud"},
    ],
    ids=lambda changes: str(*changes),
)
def test_a_trace_of_another_subject_is_not_appended_to(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    write_trace(tmp_path, 10)
    before = read_manifest(tmp_path)
    other: Subject = replace(SUBJECT, **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught, open_writer(tmp_path, other):
        pass
    (value,) = changes.values()
    assert repr(value) in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert read_manifest(tmp_path) == before


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    with open_writer(tmp_path, SUBJECT):
        with pytest.raises(ConfigError, match=r"trace folder .* in use") as caught:
            recover(tmp_path)
        assert caught.value.reason == Reason.STATE_IN_USE
    recover(tmp_path)


def test_numbers_that_do_not_rise_are_refused(tmp_path: Path) -> None:
    with open_writer(tmp_path, SUBJECT) as writer:
        assert writer.write_next([answer_event(0), answer_event(1)]) == 1
        for number in (0, 1):
            with pytest.raises(ValueError, match="do not follow"):
                writer.write([answer_event(number, sequence=number)])
        # A gap is no error: it says that events were lost.
        assert writer.write([answer_event(5, sequence=5)]) == 5
    assert [event.sequence for event in open_trace(tmp_path).events()] == [0, 1, 5]


@pytest.mark.parametrize(
    "limits", [PartLimits(bytes=20_000), PartLimits(seconds=10.0)], ids=["bytes", "seconds"]
)
def test_a_part_ends_at_each_of_its_limits(tmp_path: Path, limits: PartLimits) -> None:
    clock = FakeClock()
    with open_writer(tmp_path, SUBJECT, limits=limits, clock=clock) as writer:
        for number in range(0, 100, 10):
            writer.write_next([answer_event(n) for n in range(number, number + 10)])
            clock.sleep(3.0)
    parts = open_trace(tmp_path).manifest.parts
    assert len(parts) > 1
    assert sum(part.rows for part in parts) == 100


def test_a_writer_that_raised_leaves_a_journal_for_the_next(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_writer(tmp_path, SUBJECT) as writer:
        writer.write_next([answer_event(number) for number in range(5)])
        raise RuntimeError
    assert open_trace(tmp_path).unfinished
    assert recover(tmp_path).num_rows == 5
    assert not (tmp_path / EVENTS / JOURNAL).exists()
    assert recover(tmp_path).num_rows == 5


def test_a_folder_without_a_manifest_is_no_trace(tmp_path: Path) -> None:
    for attempt in (open_trace, recover):
        with pytest.raises(DataError, match="is no trace"):
            attempt(tmp_path)


def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE)
    with pytest.raises(DataError, match="is no file"):
        open_trace(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('"rows": 10', '"rows": 9', "was changed"),
        ('"schema": 1', '"schema": 2', "reads up to 1"),
        ('"schema": 1', '"schema": "1"', "schema is '1', not a whole number"),
        ('"schema": 1', '"schema": -1', "schema is -1, not a whole number"),
        ("{", "", "cannot be read"),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path: Path, old: str, new: str, word: str) -> None:
    write_trace(tmp_path, 10)
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=word):
        open_trace(tmp_path)
