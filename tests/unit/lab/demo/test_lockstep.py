"""Who goes when: a device of files and a cloud of numbers, driven step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from driftline_device.daemon.state_files import StateFiles
from driftline_lab.demo import lockstep
from driftline_lab.demo.lockstep import Lockstep
from driftline_shared.errors import DriftlineError, LinkError, Reason
from driftline_shared.status import CloudStatus, LineStatus, RoundStatus


@dataclass
class FakeProgram:
    """A process that runs until it is told to end."""

    name: str
    code: int | None = None
    log: Path = Path("its.log")

    def running(self) -> bool:
        return self.code is None

    def check(self) -> None:
        if self.code:
            raise DriftlineError(f"the {self.name} process ended with {self.code}; its log ends:")

    def tail(self) -> str:
        return f"last words of the {self.name}"


@dataclass
class World:
    """Both sides: `waiting` samples at each step; a round takes two looks. `log`: what happened."""

    folder: Path
    waiting: list[int]
    device: FakeProgram = field(default_factory=lambda: FakeProgram("device"))
    cloud: FakeProgram = field(default_factory=lambda: FakeProgram("cloud"))
    log: list[str] = field(default_factory=list)
    step: int = 0
    looks: int = 0
    busy: int = 0
    round: RoundStatus | None = None
    at_look: Callable[[], None] = lambda: None

    def write(self) -> None:
        status = {"step": self.step, "activity": "waiting", "num_answered": 10 * self.step}
        (self.folder / "status.json").write_text(json.dumps(status))

    def look(self, _cloud: CloudStatus | None = None) -> None:
        """What goes on while the driver waits."""
        self.at_look()
        if StateFiles(self.folder).goes_on_from() >= self.step and self.device.running():
            self.log.append(f"go {self.step}")
            self.step += 1
            if self.step == len(self.waiting):
                self.device.code = 0
            self.write()

    def fetch_status(self, _address: str, **_: Any) -> CloudStatus:
        if self.busy:
            self.busy -= 1
            raise LinkError("busy", reason=Reason.UNREACHABLE)
        self.looks += 1
        if self.round is not None and self.looks > 2:
            self.round = RoundStatus(
                round_id=self.round.round_id, state="done", num_samples=1, target_version=1
            )
        waits = self.waiting[self.step] if self.step < len(self.waiting) else 0
        line = LineStatus(
            line="l", newest_version=0, num_samples=1, num_waiting=waits, num_rounds=0,
            round=self.round,
        )  # fmt: skip
        return CloudStatus(cloud_id="c", version="0", lines=(line,))

    def start_round(self, _address: str, **_: Any) -> RoundStatus:
        self.log.append(f"round at {self.step}")
        self.looks = 0
        self.round = RoundStatus(
            round_id=f"l-r{self.step}", state="snapshot", num_samples=1, target_version=1
        )
        return self.round

    def drive(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(lockstep, "fetch_status", self.fetch_status)
        patch.setattr(lockstep, "start_round", self.start_round)
        patch.setattr(lockstep, "POLL_S", 0.0)
        patch.setattr(lockstep, "ROUND_POLL_S", 0.0)
        self.write()
        Lockstep(
            cloud=self.cloud,  # type: ignore[arg-type]
            device=self.device,  # type: ignore[arg-type]
            address="here",
            device_state=self.folder,
            round_samples=20,
            show=self.look,
        ).run()


def test_a_round_is_ordered_by_number_and_has_ended_before_the_device_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, waiting=[0, 19, 20, 60], busy=2)
    world.drive(monkeypatch)
    assert world.log == ["go 0", "go 1", "round at 2", "go 2", "round at 3", "go 3"]


@pytest.mark.parametrize("dies", ["cloud", "device"])
def test_a_side_that_dies_ends_the_run_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    world = World(tmp_path, waiting=[0, 30, 30])

    def die() -> None:
        if world.step == 2:
            getattr(world, dies).code = 3

    world.at_look = die
    with pytest.raises(DriftlineError, match=f"the {dies} process ended with 3"):
        world.drive(monkeypatch)


def test_two_sides_that_say_nothing_new_are_stuck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, waiting=[0, 0])
    monkeypatch.setattr(world, "look", lambda _cloud: None)
    monkeypatch.setattr(lockstep, "STUCK_S", 0.05)
    with pytest.raises(DriftlineError, match="nothing has changed") as caught:
        world.drive(monkeypatch)
    assert "last words of the device" in str(caught.value)
    assert "last words of the cloud" in str(caught.value)
