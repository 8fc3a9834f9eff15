"""Recording beside a program: nothing that happens to the disk reaches the program."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from driftline_shared.errors import ConfigError
from driftline_shared.host import lock
from driftline_shared.host.clock import SystemClock
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.journal import Journal
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.recorder import EVENT_BYTES, NoSink, Recorder, open_recorder
from driftline_shared.trace.settings import TraceSettings
from driftline_shared.trace.writer import open_writer, recover
from tests.fakes.traces import SUBJECT, answer_event, write_trace


def settings(folder: Path | None, **changes: Any) -> TraceSettings:
    return TraceSettings(folder=folder, **{"batch_rows": 8, "batch_s": 0.01, **changes})


def making(number: int) -> Callable[[], TraceEvent]:
    return lambda: answer_event(number)


def numbers(folder: Path) -> list[int]:
    return [event.sequence for event in open_trace(folder).events()]


def test_events_are_on_disk_once_flushed(tmp_path: Path) -> None:
    written: list[int] = []
    with open_recorder(
        settings(tmp_path), SUBJECT, clock=SystemClock(), seed=3, on_written=written.append
    ) as sink:
        for number in range(30):
            sink.record(making(number))
        assert sink.flush(10.0)
        assert written[-1] == 29
        assert open_trace(tmp_path).unfinished
        sink.record(making(30))
    trace = open_trace(tmp_path)
    assert list(trace.events()) == [answer_event(n, sequence=n) for n in range(31)]
    assert not trace.unfinished
    assert trace.manifest.seed == 3


def test_without_a_folder_nothing_is_recorded() -> None:
    with open_recorder(settings(None), SUBJECT, clock=SystemClock()) as sink:
        assert isinstance(sink, NoSink)
        sink.record(lambda: pytest.fail("made"))
        assert sink.flush(0.0)


def test_a_full_disk_ends_the_recording_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Journal.append

    def full(self: Journal, events: Any) -> None:
        if self.num_rows >= 16:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, events)

    monkeypatch.setattr(Journal, "append", full)
    with (
        capture_logs() as lines,
        open_recorder(settings(tmp_path, batch_s=5.0), SUBJECT, clock=SystemClock()) as sink,
    ):
        for number in range(40):
            sink.record(making(number))
        assert not sink.flush(10.0)
        sink.record(making(40))
        assert not sink.flush(0.0)
    assert [line["event"] for line in lines] == ["trace.stopped"]
    assert recover(tmp_path).num_rows == 16


def test_a_disk_that_is_full_at_the_start_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lock, "make_folder", full)
    with (
        capture_logs() as lines,
        open_recorder(settings(tmp_path / "new"), SUBJECT, clock=SystemClock()) as sink,
    ):
        sink.record(making(0))
    assert [line["event"] for line in lines] == ["trace.stopped"]


@pytest.mark.parametrize("kind", ["another subject", "in use"])
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, kind: str) -> None:
    write_trace(tmp_path, 5)
    if kind == "in use":
        with (
            open_writer(tmp_path, SUBJECT),
            pytest.raises(ConfigError, match="in use"),
            open_recorder(settings(tmp_path), SUBJECT, clock=SystemClock()),
        ):
            pass
    else:
        other = replace(SUBJECT, source="camera:9")
        with (
            pytest.raises(ConfigError, match="camera:9"),
            open_recorder(settings(tmp_path), other, clock=SystemClock()),
        ):
            pass


def test_events_that_the_disk_cannot_take_are_missed_by_their_numbers(tmp_path: Path) -> None:
    held, waits = threading.Event(), threading.Event()

    def slow() -> TraceEvent:
        waits.set()
        assert held.wait(10.0)
        return answer_event(0)

    room = settings(tmp_path, queue_bytes=1 << 16, batch_rows=1)
    with capture_logs() as lines, open_recorder(room, SUBJECT, clock=SystemClock()) as sink:
        sink.record(slow)
        assert waits.wait(10.0)
        most = (1 << 16) // (EVENT_BYTES + 1_000)
        for number in range(1, most + 10):
            sink.record(making(number), num_bytes=1_000)
        held.set()
        assert sink.flush(10.0)
        sink.record(making(99))
    assert numbers(tmp_path) == [*range(most + 1), most + 10]
    assert [line["event"] for line in lines] == ["trace.events_left_out"]


def test_an_event_that_cannot_be_made_costs_no_other(tmp_path: Path) -> None:
    def broken() -> TraceEvent:
        raise ValueError("no tokens")

    with (
        capture_logs() as lines,
        open_recorder(settings(tmp_path), SUBJECT, clock=SystemClock()) as sink,
    ):
        for make in (making(0), broken, broken, making(3)):
            sink.record(make)
        assert sink.flush(10.0)
    assert numbers(tmp_path) == [0, 3]
    assert [line["event"] for line in lines] == ["trace.event_left_out"]


def test_a_recorder_that_hangs_is_left_behind(tmp_path: Path) -> None:
    held = threading.Event()

    def hangs() -> TraceEvent:
        held.wait(10.0)
        return answer_event(1)

    with open_writer(tmp_path, SUBJECT) as writer:
        recorder = Recorder(writer, settings(tmp_path))
        recorder.record(making(0))
        assert recorder.flush(10.0)
        recorder.record(hangs)
        assert not recorder.close(0.02)
        writer.abandon()
        held.set()
        assert recorder.close(10.0)
    assert recover(tmp_path).num_rows >= 1


@pytest.mark.parametrize("below", ["", "trace"])
def test_a_file_at_its_place_stops_nothing(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with (
        capture_logs() as lines,
        open_recorder(settings(tmp_path / "file" / below), SUBJECT, clock=SystemClock()) as sink,
    ):
        sink.record(making(0))
    assert [line["event"] for line in lines] == ["trace.stopped"]
