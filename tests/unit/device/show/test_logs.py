"""The newest lines of a rotated log, and those that come."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from driftline_device.show.logs import (
    MAX_LINE_BYTES,
    end_of,
    follow,
    for_people,
    is_at_least,
    newest_lines,
)
from tests.fakes.clock import FakeClock


def line(number: int, level: str = "info") -> str:
    return json.dumps({"event": f"turn {number}", "level": level, "timestamp": "2026-01-01"})


def write(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.write("".join(f"{each}\n" for each in lines))


def newest(path: Path, num: int, level: str = "debug", keep: int = 3) -> list[str]:
    return newest_lines(path, end=end_of(path), keep=keep, num=num, level=level)


def test_lines_come_from_older_files_where_the_newest_has_too_few(tmp_path: Path) -> None:
    path = tmp_path / "device.log"
    write(tmp_path / "device.log.2", line(0), line(1))
    write(tmp_path / "device.log.1", line(2), line(3))
    write(path, line(4))
    assert newest(path, 3) == [line(2), line(3), line(4)]
    assert newest(path, 99) == [line(number) for number in range(5)]
    assert newest(path, 99, keep=1) == [line(2), line(3), line(4)]
    assert newest(path, 0) == []


def test_only_lines_as_grave_as_asked_for_count(tmp_path: Path) -> None:
    path = tmp_path / "device.log"
    write(path, line(0, "error"), line(1), line(2, "warning"), "cut short", line(3))
    assert newest(path, 3, "warning") == [line(0, "error"), line(2, "warning"), "cut short"]
    assert is_at_least(line(0, "critical"), "error")


def test_what_is_written_after_the_end_is_left_to_follow(tmp_path: Path) -> None:
    path = tmp_path / "device.log"
    write(path, line(0))
    end = end_of(path)
    write(path, line(1))
    assert newest_lines(path, end=end, keep=1, num=9, level="debug") == [line(0)]
    lines = follow(path, start=end, level="debug", clock=FakeClock())
    assert next(lines) == line(1)
    lines.close()


def test_following_goes_on_over_rotation_and_half_lines(tmp_path: Path) -> None:
    path = tmp_path / "device.log"
    write(path, line(0))

    class Writes(FakeClock):
        """Each wait is a moment in which the daemon writes."""

        def __init__(self) -> None:
            super().__init__()
            self.steps = iter([self.half, self.rest, self.rotate, self.more])

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            next(self.steps)()

        def half(self) -> None:
            with path.open("a") as file:
                file.write(line(1)[:10])

        def rest(self) -> None:
            write(path, line(1)[10:], line(2, "debug"))

        def rotate(self) -> None:
            write(path, line(3))
            path.rename(tmp_path / "device.log.1")

        def more(self) -> None:
            write(path, line(4))

    lines = follow(path, start=end_of(path), level="info", clock=Writes())
    assert list(islice(lines, 3)) == [line(1), line(3), line(4)]
    lines.close()


def test_a_file_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "device.log"

    class Begins(FakeClock):
        def sleep(self, seconds: float) -> None:
            write(path, line(1))

    lines = follow(path, start=end_of(path), level="debug", clock=Begins())
    assert next(lines) == line(1)
    lines.close()


@pytest.mark.parametrize("text", ["", "[]", "{", "plain text", "[" * 100_000])
def test_what_is_no_event_is_shown_as_it_stands(text: str) -> None:
    assert for_people(text, colors=False) == text
    assert is_at_least(text, "error")


def test_an_event_is_shown_with_its_values() -> None:
    row = {"event": "disk.full", "level": "error", "num_bytes": 7, "exception": "Trace\n  here"}
    shown = for_people(json.dumps(row), colors=False)
    for word in ("disk.full", "error", "num_bytes", "7", "Trace\n  here"):
        assert word in shown
    assert "3" in for_people(json.dumps({"level": 3}), colors=False)


def test_an_endless_line_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "device.log"
    path.write_bytes(b"x" * (MAX_LINE_BYTES + 10) + b"\n" + line(1).encode() + b"\n")
    found = newest(path, 9)
    assert max(map(len, found)) <= MAX_LINE_BYTES
    assert found[-1] == line(1)
