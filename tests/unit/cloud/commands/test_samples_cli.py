"""Samples are listed, shown, dropped and released by commands, while no cloud runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from driftline_cloud.commands.samples_cli import app
from driftline_cloud.intake.quarantine import Fault
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, send


@pytest.fixture
def state(tmp_path: Path) -> Path:
    cloud = open_cloud(tmp_path / "state", ReckoningWorkers(), FakeClock())
    samples = send(cloud, range(3))
    fault = Fault(sample_id=samples[1].id, reason="sample_shape", detail="no place\x1b[2J")
    cloud.quarantine.put([fault], round_id="r1", now_unix_s=1_700_000_000)
    cloud.close()
    return tmp_path / "state"


def _run(*args: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, [str(one) for one in args])
    return found.exit_code, found.stdout


def test_what_is_in_quarantine_is_listed_with_its_reason(state: Path) -> None:
    code, text = _run("list", "--quarantined", "--state", state)
    assert code == 0 and "sample_shape: no place\\x1b[2J" in text and "\x1b" not in text
    code, text = _run("list", "--state", state, "--json")
    rows = json.loads(text)
    assert code == 0 and [row["state"] for row in rows] == ["waiting", "quarantined", "waiting"]
    assert _run("list", "--state", state, "--limit", 1, "--offset", 1)[1].count("\n") == 1


def test_one_is_shown_dropped_and_released(state: Path) -> None:
    (row,) = json.loads(_run("list", "--quarantined", "--state", state, "--json")[1])
    shown = json.loads(_run("show", row["id"], "--state", state, "--json")[1])
    assert (shown["question"], shown["num_tokens"], shown["rows"]) == ("what is it?", 5, 4)
    assert _run("release", row["id"], "--state", state) == (0, "1 of 1 samples released\n")
    assert _run("list", "--quarantined", "--state", state)[1] == "no sample is in quarantine\n"
    assert _run("drop", row["id"], "--state", state)[0] == 1  # it is not in quarantine
    code, text = _run("drop", "--all", "--state", state, "--json")
    assert (code, json.loads(text)) == (0, {"dropped": 0, "asked": 0})


def test_wrong_flags_and_folders_are_told(state: Path, tmp_path: Path) -> None:
    assert _run("drop", "--state", state)[0] == 2
    assert _run("drop", "zz", "--state", state)[0] == 2
    found = CliRunner().invoke(app, ["list", "--state", str(tmp_path / "none")])
    assert found.exit_code != 0 and "no cloud was served" in str(found.exception)
    assert not (tmp_path / "none").exists()
