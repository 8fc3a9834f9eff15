"""A request that cannot be left is one sentence with its fix; a daemon without a status is told."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.daemon import state_files
from driftline_shared.errors import DataError
from driftline_shared.host.lock import state_lock

COMMANDS = [("pause",), ("rollback", "2")]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "status.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=str)
@pytest.mark.parametrize(
    ("error", "fix"),
    [(errno.ENOSPC, "Make room"), (errno.EROFS, "Remount"), (errno.EACCES, "sudo -u ")],
)
def test_a_request_that_cannot_be_left_is_one_sentence(
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    error: int,
    fix: str,
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error), str(path))

    monkeypatch.setattr(state_files, "write_json", refuse)
    done = CliRunner().invoke(app, [*command, "--state", str(state)])
    assert isinstance(done.exception, DataError)
    assert os.strerror(error) in str(done.exception) and fix in done.exception.fix


@pytest.mark.parametrize("command", [("status",), ("pause",), ("versions",)], ids=str)
def test_a_daemon_that_could_write_no_status_has_run_all_the_same(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    with state_lock(tmp_path):
        done = CliRunner().invoke(app, [*command, "--state", str(tmp_path)])
    if command == ("status",):
        assert isinstance(done.exception, DataError)
        assert f"process {os.getpid()} runs on" in str(done.exception)
    else:
        assert done.exit_code == 0, done.exception


def test_a_broken_status_keeps_nobody_from_pausing(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_bytes(b"\xff")
    assert CliRunner().invoke(app, ["pause", "--state", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "paused.json").exists()
