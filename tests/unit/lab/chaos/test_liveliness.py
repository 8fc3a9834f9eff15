"""Time of the schedule goes on only while everything is up."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from driftline_lab.chaos import liveliness
from driftline_lab.chaos.liveliness import Liveliness


class Stage:
    """A cloud and a device whose processes are this test's words."""

    def __init__(self, folder: Path) -> None:
        self.cloud_state = folder
        self.log = folder / "cloud.log"
        self.cloud = SimpleNamespace(name="cloud", pid=1, runs=True, log=self.log)
        program = SimpleNamespace(name="device-0", pid=2, runs=True)
        self.witness = SimpleNamespace(num_answers=0)
        self.devices = [SimpleNamespace(name="device-0", program=program, witness=self.witness)]

    def says(self, event: str, **values: str) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps({"event": event, **values}) + "\nTraceback\n")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(liveliness, "children_of", lambda _pid: [7])
    stage = Stage(tmp_path)
    (tmp_path / "port").touch()
    return stage


def _up(stage: Stage) -> Liveliness:
    looking: Any = Liveliness(stage)  # type: ignore[arg-type]
    assert not looking.is_up()
    stage.says("work.started")
    stage.says("lease.taken", owner="beside-it")
    stage.witness.num_answers += 1
    assert looking.is_up()
    return looking


def test_a_worker_that_is_started_again_must_have_its_line(stage: Stage) -> None:
    looking = _up(stage)
    stage.says("work.ended")
    assert not looking.is_up()
    stage.says("work.started")
    stage.says("lease.taken", owner="who serves")
    assert not looking.is_up()
    stage.says("lease.taken", owner="beside-it")
    assert looking.is_up()


def test_a_device_that_is_started_again_must_have_answered(stage: Stage) -> None:
    looking = _up(stage)
    stage.devices[0].program.pid = 3
    assert not looking.is_up()
    stage.witness.num_answers += 1
    assert looking.is_up()


def test_a_cloud_must_listen(stage: Stage) -> None:
    looking = _up(stage)
    (stage.cloud_state / "port").unlink()
    assert not looking.is_up()


def test_what_never_comes_up_holds_up_nothing_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Liveliness(stage)  # type: ignore[arg-type]
    assert not looking.is_up()
    monkeypatch.setattr(liveliness, "MOST_S", -1.0)
    assert looking.is_up()
