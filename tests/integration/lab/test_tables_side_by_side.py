"""Runs of two processes side by side are those of one; one that dies is a run that failed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline_lab.cli import app
from driftline_lab.experiments.making import processes
from tests.fakes.tiny_pair import make_tiny_pair

WORDS = ["tables", "--quick", "--only", "accuracy", "--json", "--seeds", "0,1"]
SIZE = ["--baselines", "source-only,pseudo-label", "--questions", "30", "--tests", "8"]


def tables(pair: Path, out: Path, *words: str) -> Any:
    """What the command ends with, and how."""
    words = (
        *WORDS,
        *SIZE,
        "--pair",
        str(pair),
        "--out",
        str(out),
        "--cache",
        str(out / "c"),
        *words,
    )
    return CliRunner().invoke(app, list(words))


def result_files(out: Path) -> dict[str, Any]:
    """By name, without the seconds, which no two runs share, nor the digest over them."""
    paths = (out / "runs").iterdir()
    found = {path.name: json.loads(path.read_bytes())["result"] for path in paths}
    for document in found.values():
        assert document.pop("seconds")["all"] > 0
    return found


def test_the_same_files_however_many_processes_there_are(tmp_path: Path) -> None:
    pair = make_tiny_pair(tmp_path)
    done = {jobs: tables(pair, tmp_path / jobs, "--jobs", jobs) for jobs in ("1", "2")}
    for jobs, found in done.items():
        assert found.exit_code == 0, found.output
        document = json.loads(found.stdout.splitlines()[-1])
        assert document["made"] == {"accuracy": True} and document["failed"] == {}
        assert "seed 1" in found.output, jobs
    assert "6 of 6 runs are done" in done["2"].output
    one, two = result_files(tmp_path / "1"), result_files(tmp_path / "2")
    assert len(one) == 6 and one == two
    assert any(row["bytes_down"] for each in one.values() for row in each["rows"])
    names = [tmp_path / jobs / "accuracy" / "result.json" for jobs in ("1", "2")]
    tables_made = [json.loads(name.read_bytes())["result"] for name in names]
    assert tables_made[0] == tables_made[1]


def test_a_process_that_is_killed_is_one_run_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = make_tiny_pair(tmp_path)
    killed: list[str] = []
    make = processes.Child.make

    def make_or_die(self, key, say):  # type: ignore[no-untyped-def]
        if not killed:
            killed.append(key)
            os.kill(self._process.pid, signal.SIGKILL)
        return make(self, key, say)

    monkeypatch.setattr(processes.Child, "make", make_or_die)
    found = tables(pair, tmp_path, "--jobs", "2", "--baselines", "source-only")
    assert found.exit_code == 1
    document = json.loads(next(x for x in found.stdout.splitlines() if x.startswith("{")))
    assert document["made"] == {}
    (why,) = document["failed"]["accuracy"]
    assert "its process ended with code -9" in why
    assert len(result_files(tmp_path)) == 3
    assert killed[0] not in {path.stem for path in (tmp_path / "runs").iterdir()}
