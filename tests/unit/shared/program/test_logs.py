"""Logs on standard error and in a file that is rotated."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from driftline_shared.host.appended import AppendedFile
from driftline_shared.program.logs import LogFile, close_logs, set_log_level, setup_logs


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_logs()


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def file_at(path: Path, *, max_bytes: int = 1 << 20, keep: int = 2) -> LogFile:
    return LogFile(path=path, max_bytes=max_bytes, keep=keep)


def test_a_line_goes_to_both_each_in_its_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logs(file=file_at(tmp_path / "logs" / "device.log"))
    structlog.get_logger("a.module").warning("disk.full", num_bytes=3)
    (row,) = rows(tmp_path / "logs" / "device.log")
    assert (row["event"], row["level"], row["num_bytes"]) == ("disk.full", "warning", 3)
    assert str(row["timestamp"]).endswith("Z")
    assert set(row) == {"event", "level", "num_bytes", "timestamp"}
    shown = capsys.readouterr().err
    assert "disk.full" in shown
    assert not shown.startswith("{")


def test_a_traceback_is_kept_without_local_variables(tmp_path: Path) -> None:
    setup_logs(form="json", file=file_at(tmp_path / "device.log"))
    try:
        secret = "what the user asked"
        raise RuntimeError(f"{len(secret)} characters")
    except RuntimeError:
        structlog.get_logger().exception("answer.raised")
    (row,) = rows(tmp_path / "device.log")
    assert "RuntimeError: 19 characters" in str(row["exception"])
    assert row["level"] == "error"


@pytest.mark.parametrize("with_file", [False, True])
def test_the_level_changes_while_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], with_file: bool
) -> None:
    log = structlog.get_logger("made.before")
    setup_logs(level="warning", file=file_at(tmp_path / "x.log") if with_file else None)
    log.info("first")
    set_log_level("debug")
    log.debug("second")
    set_log_level("error")
    log.warning("third")
    shown = capsys.readouterr().err
    assert ("first" in shown, "second" in shown, "third" in shown) == (False, True, False)


def test_the_file_is_rotated_and_no_more_than_asked_for_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "device.log"
    setup_logs(form="json", file=file_at(path, max_bytes=4096, keep=2))
    for number in range(400):
        structlog.get_logger().info("turn", number=number)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "device.log",
        "device.log.1",
        "device.log.2",
    ]
    assert all(file.stat().st_size <= 4096 for file in tmp_path.iterdir())
    newest = [row["number"] for name in (".2", ".1", "") for row in rows(Path(f"{path}{name}"))]
    assert newest == list(range(400 - len(newest), 400))


@pytest.mark.parametrize("what", ["folder", "pipe", "device", "file above"])
def test_what_is_no_file_is_told_once_and_the_log_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    path, in_the_way = tmp_path / "logs" / "device.log", tmp_path / "logs" / "device.log"
    if what == "file above":
        in_the_way = tmp_path / "logs"
    in_the_way.parent.mkdir(exist_ok=True)
    match what:
        case "folder":
            in_the_way.mkdir()
        case "pipe":
            os.mkfifo(in_the_way)
        case "device":
            in_the_way.symlink_to("/dev/full")
        case _:
            in_the_way.write_text("")
    setup_logs(form="json", file=file_at(path))
    for _ in range(3):
        structlog.get_logger().info("turn")
    said = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert sorted(said) == ["log.not_written", "turn", "turn", "turn"]
    in_the_way.rename(tmp_path / "moved")
    structlog.get_logger().info("turn")
    said = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert sorted(said) == ["log.written_again", "turn"]


def test_a_disk_that_takes_no_more_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "device.log"
    setup_logs(form="json", file=file_at(path))
    structlog.get_logger().info("begun")

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for _ in range(3):
            structlog.get_logger().info("turn")
    assert capsys.readouterr().err.count("No space left") == 1
    with monkeypatch.context() as patch:
        patch.setattr(AppendedFile, "has_room", property(lambda _: False))
        structlog.get_logger().info("turn")
    assert "written_again" not in path.read_text(), "a line fits, the next may not"
    structlog.get_logger().info("turn")
    assert path.read_text().count("log.written_again") == 1


def test_what_repeats_is_left_out_where_that_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    setup_logs(form="json", limit_repeats=True)
    for number in range(5):
        structlog.get_logger().warning("link.failed", error=f"try {number}")
        structlog.get_logger().info("turn")
    lines = capsys.readouterr().err.splitlines()
    assert [sum(word in line for line in lines) for word in ("link.failed", "turn")] == [1, 5]
