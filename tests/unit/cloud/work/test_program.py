"""A worker whose database takes no writes for a while: what it says, and that it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog.testing

from driftline_cloud.config import load_config
from driftline_cloud.rounds.board import BLOCKED, IDLE
from driftline_cloud.work import program
from driftline_cloud.work.program import Worker
from tests.fakes.cloud import ReckoningWorkers, bare_pair, fake_makers
from tests.fakes.failing_database import FailingDatabase

TIMEOUT_S = 30.0


def _wait(done: Callable[[], bool]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not done():
        assert time.monotonic() < until_s, "it did not get there"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("database or disk is full", "no space left on {file}. Free space"),
        ("attempt to write a readonly database", "{file} is read-only. Let the cloud's user"),
        ("database is locked", "{file} is locked by another program. Another program writes"),
    ],
)
def test_a_worker_says_what_keeps_it_once_and_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, said: str
) -> None:
    monkeypatch.setattr(program, "LOOK_S", 0.01)
    opened: list[FailingDatabase] = []

    def open_database(url: str) -> FailingDatabase:
        opened.append(FailingDatabase(url))
        return opened[-1]

    pair = bare_pair(tmp_path / "pair")
    makers = fake_makers(ReckoningWorkers(), lambda _name: pair, database=open_database)
    settings = {"state": tmp_path / "state", "work.lease_s": 1.0, "rounds.poll_s": 0.01}
    worker = Worker(
        config=load_config(None, settings, environment={}),
        makers=makers,
        owner="w",
    )
    halt = threading.Event()
    working = threading.Thread(target=worker.run, args=(halt,), daemon=True)
    with structlog.testing.capture_logs() as lines:
        working.start()
        _wait(lambda: worker._now()[0] == IDLE)
        opened[0].fault = fault
        _wait(lambda: worker._now()[0] == BLOCKED)
        time.sleep(0.3)  # many looks, all with the same to say
        _, reason, _ = worker._now()
        opened[0].fault = ""
        _wait(lambda: worker._now()[0] == IDLE)
        halt.set()
        working.join(TIMEOUT_S)
    assert not working.is_alive()
    assert reason.startswith(said.format(file=tmp_path / "state" / "cloud.sqlite"))
    about = [line for line in lines if "cloud.sqlite" in str(line.get("cause"))]
    assert 1 <= len(about) <= 3  # the lease's, the rounds' own, and of what forgets rows
