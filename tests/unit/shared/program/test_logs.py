"""Logs on standard error and in a file that is rotated."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

import pytest
import structlog

from driftline_shared.errors import ConfigError
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


def test_a_file_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"log\.file: .* cannot be written"):
        setup_logs(file=file_at(tmp_path / "file" / "device.log"))


def test_a_disk_that_takes_no_more_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logs(form="json", file=file_at(tmp_path / "device.log"))
    handler = logging.getLogger("driftline").handlers[1]
    assert isinstance(handler, logging.FileHandler)
    structlog.get_logger().info("begun")
    handler.stream.close()
    with TextIOWrapper(Path("/dev/full").open("wb", buffering=0), write_through=True) as full:
        handler.stream = full
        for _ in range(3):
            structlog.get_logger().info("turn")
        assert capsys.readouterr().err.count("No space left") == 1
        handler.stream = (tmp_path / "other.log").open("w")


def test_a_log_file_that_the_disk_takes_only_later_is_begun_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "device.log", Path.open

    def full(self: Path, *args: object, **options: object) -> object:
        if self == path:
            raise OSError(28, "No space left on device")
        return real(self, *args, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        setup_logs(form="json", file=file_at(path))
    structlog.get_logger().info("turn")
    assert "turn" in path.read_text() and "turn" in capsys.readouterr().err


def test_what_repeats_is_left_out_where_that_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    setup_logs(form="json", limit_repeats=True)
    for number in range(5):
        structlog.get_logger().warning("link.failed", error=f"try {number}")
        structlog.get_logger().info("turn")
    lines = capsys.readouterr().err.splitlines()
    assert [sum(word in line for line in lines) for word in ("link.failed", "turn")] == [1, 5]
