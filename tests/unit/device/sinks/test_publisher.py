"""Where answers go, from the command line's point of view and from the file's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.sinks.publisher import EventsFile
from driftline_shared.host.appended import AppendedFile
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import FakeRuntime, stream, write_dataset, write_pair
from tests.unit.device.sinks.test_console import record


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(
        "driftline_device.program.assembly.make_runtime", lambda *_, **__: FakeRuntime()
    )
    data = write_dataset(tmp_path / "data", stream(3, hard=False))
    pair = write_pair(tmp_path / "pair")
    flags = [f"--source={data}", f"--state={tmp_path / 'state'}", f"--pair={pair}"]
    return lambda *more: CliRunner().invoke(app, ["run", *flags, *more])


def test_every_answer_is_a_line_and_the_summary_stays_last(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    events = tmp_path / "events.jsonl"
    done = run(f"--events={events}", "--json")
    *answers, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert (summary["kind"], summary["num_answered"], len(answers)) == ("summary", 3, 3)
    assert {each["answer"] for each in answers} <= {"red", "green", "blue", "yes"}
    assert all(each["question"] and "stream.jsonl" in each["place"] for each in answers), answers
    assert len({each["id"] for each in answers}) == 3
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    assert [{key: row[key] for key in answers[0]} for row in rows] == answers
    assert [row["n"] for row in rows] == [1, 2, 3] and rows[0]["correct"] is True

    *lines, _ = run("--seed=1").stdout.partition("device  ")
    assert lines[0].count("->") == 3
    assert "->" not in run("--quiet").stdout


def test_a_place_that_cannot_be_written_is_named_once_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mnt").write_text("in the way")
    file = EventsFile(tmp_path / "mnt" / "events.jsonl", max_bytes=9999, keep=1, clock=FakeClock())
    with capture_logs() as logs:
        for _ in range(5):
            file.write(record())
        (tmp_path / "mnt").unlink()
        file.write(record())
    file.close()
    assert [each["event"] for each in logs] == ["events.lost", "events.back"]
    assert len((tmp_path / "mnt" / "events.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_of_events_is_named_once_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "events.jsonl"
    make(path)
    file = EventsFile(path, max_bytes=9999, keep=1, clock=FakeClock())
    with capture_logs() as logs:
        for _ in range(3):
            file.write(record())
        path.rename(tmp_path / "moved")
        file.write(record())
    file.close()
    assert [each["event"] for each in logs] == ["events.lost", "events.back"]
    assert "not a file" in logs[0]["error"]


def test_a_full_disk_that_takes_one_more_line_is_not_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = EventsFile(tmp_path / "events.jsonl", max_bytes=9999, keep=1, clock=FakeClock())

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with capture_logs() as logs:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            file.write(record())
        with monkeypatch.context() as patch:
            patch.setattr(AppendedFile, "has_room", property(lambda _: False))
            file.write(record())
        assert [each["event"] for each in logs] == ["events.lost"]
        file.write(record())
    assert [each["event"] for each in logs] == ["events.lost", "events.back"]
    file.close()
