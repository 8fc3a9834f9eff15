"""`driftline device versions`, `logs`, `status` and operator requests, on real state folders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline_device.cli import app
from driftline_device.daemon.snapshot import read_snapshot
from driftline_device.updates.journal import Journal
from driftline_device.updates.phases import UpdateState, activate, begin, probe, stage, verify
from driftline_device.updates.slots import Slots
from driftline_device.updates.versions import read_versions
from driftline_shared.errors import ConfigError, DataError, Reason
from driftline_shared.host.durable import read_json, write_json
from driftline_shared.host.lock import state_lock
from tests.fakes.runtime import BASE_MODEL, adapter

SNAPSHOT = {
    "device_id": "d",
    "activity": "answering",
    "pair": "p",
    "num_answered": 1,
    "num_errors": 0,
    "num_broken_rows": 0,
    "accuracy": None,
    "uncertainty": None,
    "num_sent": 0,
    "num_seen": 0,
    "bytes_up": 0,
    "bytes_down": 0,
    "version": 2,
    "update": {"outcome": "none"},
    "spool": {},
    "link": {},
}


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Versions 1 and 2 came, 2 is in force and under watch, 3 and 4 failed."""
    journal = Journal(tmp_path, base_model=BASE_MODEL, now_s=lambda: 1_700_000_000.0)
    slots, now = Slots(tmp_path / "slots"), UpdateState()
    for version in (1, 2):
        now = probe(stage(verify(begin(now, version))))
        slots.activate(
            slots.write_spare(adapter(skill=1.0), version=version, base_model=BASE_MODEL), version
        )
        now = activate(now)
    journal.save(now)
    journal.remember(3, Reason.PROBE_DISAGREES)
    Journal(tmp_path, base_model="another").remember(1, Reason.WATCH_ERRORS)
    write_json(tmp_path / "status.json", SNAPSHOT)
    return tmp_path


def test_versions_tells_what_is_held_and_what_failed(state: Path) -> None:
    done = run("versions", "--state", state, "--json")
    found = json.loads(done.stdout)
    assert (found["in_force"], found["previous"], found["watching"]) == (2, 1, True)
    held = {each["version"]: each for each in found["held"]}
    assert set(held) == {1, 2}
    assert held[2]["since_unix_s"] == (state / "slots" / "b" / "slot.json").stat().st_mtime
    assert [(each["version"], each["reason"]) for each in found["failed"]] == [
        (3, "probe_disagrees")
    ]
    assert found["failed"][0]["unix_s"] == 1_700_000_000.0
    assert found["newest_update"]["target"] == 2
    shown = run("versions", "--state", state).stdout.splitlines()
    assert shown[0].startswith("version 2  in force, under watch, slot b")
    assert shown[1].startswith("version 1  to fall back to, slot a")
    assert shown[2].startswith("version 3  never tried again: probe_disagrees on 2023-11-14")
    assert shown[3] == "newest update: version 2 active"


def test_a_device_without_updates_runs_the_base_model(tmp_path: Path) -> None:
    write_json(tmp_path / "status.json", SNAPSHOT)
    assert run("versions", "--state", tmp_path).stdout == "version 0  in force: the base model\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["status.json"]


@pytest.mark.parametrize("name", ["failed.json", "update.json", "slots/current.json"])
@pytest.mark.parametrize("text", ["nonsense", "[]", '{"failures": [1]}', '{"version": "x"}'])
def test_broken_files_are_named_and_stay(state: Path, name: str, text: str) -> None:
    (state / name).write_text(text)
    found = read_versions(state)
    assert (state / name).read_text() == text
    if not text.startswith("{"):
        assert found.problems[0].startswith(f"{name}: ")
        assert run("versions", "--state", state).exit_code == 0


def test_a_slot_whose_digest_is_wrong_is_told(state: Path) -> None:
    other = (state / "slots" / "a" / "slot.json").read_text()
    record = json.loads(other)
    del record["crc32"]  # as a device of before wrote it
    write_json(state / "slots" / "a" / "slot.json", {**record, "digest": "00"})
    (broken,) = [each for each in read_versions(state).held if each.problem]
    assert (broken.slot, broken.problem) == ("a", "its digest is wrong")
    assert "broken: its digest is wrong" in run("versions", "--state", state).stdout


@pytest.mark.parametrize("command", ["status", "versions", "pause", "resume"])
def test_a_folder_that_no_daemon_has_used_is_an_error(tmp_path: Path, command: str) -> None:
    done = run(command, "--state", tmp_path / "typo")
    assert isinstance(done.exception, DataError)
    assert not (tmp_path / "typo").exists()


def test_the_status_says_whether_the_daemon_runs(state: Path) -> None:
    assert json.loads(run("status", "--state", state, "--json").stdout)["running"] is False
    assert "not running (it ended while answering)" in run("status", "--state", state).stdout
    with state_lock(state):
        assert json.loads(run("status", "--state", state, "--json").stdout)["running"] is True


def test_requests_answer_in_json_and_are_written(state: Path) -> None:
    assert json.loads(run("pause", "--state", state, "--json").stdout)["paused_unix_s"] > 1e9
    assert (state / "paused.json").exists()
    assert json.loads(run("resume", "--state", state, "--json").stdout) == {"paused_unix_s": None}
    assert not (state / "paused.json").exists()
    done = run("rollback", "2", "--state", state, "--json")
    assert json.loads(done.stdout) == {"leave_version": 2}
    assert read_json(state / "rollback.json") == {"leave_version": 2}


def test_step_lets_a_waiting_device_go_on(state: Path) -> None:
    done = run("step", "--state", state)
    assert isinstance(done.exception, DataError)
    assert "it is answering" in str(done.exception)
    snapshot = read_snapshot(state)
    write_json(state / "status.json", {**snapshot, "step": 3, "activity": "waiting"})
    assert json.loads(run("step", "--state", state, "--json").stdout) == {"step": 3}
    assert read_json(state / "step.json") == {"go_on_from": 3}


def test_logs_reads_the_file_that_is_set(state: Path) -> None:
    rows = [json.dumps({"event": f"turn {n}", "level": "info"}) for n in range(9)]
    rows.append(json.dumps({"event": "disk.full", "level": "error"}))
    (state / "device.log").write_text("\n".join(rows) + "\n")
    flags = ("--state", state, "--set", "log.file=device.log")
    assert run("logs", *flags, "-n", 2, "--json").stdout.splitlines() == rows[-2:]
    assert run("logs", *flags, "--level", "error", "--json").stdout.splitlines() == rows[-1:]
    assert "disk.full" in run("logs", *flags, "-n", 1).stdout
    assert run("logs", *flags, "-n", 0).stdout == ""


def test_logs_without_a_file_says_what_to_do(state: Path) -> None:
    done = run("logs", "--state", state)
    assert isinstance(done.exception, ConfigError)
    assert "journalctl" in str(done.exception)
    assert isinstance(
        run("logs", "--state", state, "--set", "log.file=none.log").exception, DataError
    )


def test_logs_follows_until_it_is_interrupted(state: Path) -> None:
    (state / "device.log").write_text('{"event": "first", "level": "info"}\n')
    command = [sys.executable, "-m", "driftline_shared.program.cli", "device", "logs", "--follow"]
    flags = ["--json", "--state", str(state), "--set", "log.file=device.log"]
    process = subprocess.Popen(
        [*command, *flags],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # Whoever runs these tests in the background of a shell has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "first"
        with (state / "device.log").open("a") as file:
            file.write('{"event": "second", "level": "info"}\n')
        assert json.loads(process.stdout.readline())["event"] == "second"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate(timeout=60)
