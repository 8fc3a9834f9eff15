"""A worker with S3 that goes away under a round: it waits, says why, and goes on by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from driftline_cloud.blobs.remote import open_remote
from driftline_cloud.config import load_config
from driftline_cloud.rounds.round import RoundState
from driftline_cloud.service.assembly import assemble_service
from driftline_cloud.state import StateFolder
from driftline_cloud.work.program import Worker
from driftline_shared.pair.pair import Pair
from tests.fakes.cloud import ReckoningWorkers, fake_makers
from tests.fakes.object_store import running_s3
from tests.fakes.rounds import send

pytestmark = pytest.mark.integration

TIMEOUT_S = 120.0


def _wait(done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not done():
        assert time.monotonic() < deadline_s, "it did not get there"
        time.sleep(0.05)


def test_a_round_waits_for_s3_and_goes_on_by_itself(tmp_path: Path, bare: Pair) -> None:
    with running_s3() as s3:
        settings = {
            "state": tmp_path / "state",
            "storage.artifacts": s3.url,
            "rounds.trigger.round_samples": 40,
            "rounds.poll_s": 0.05,
            "dwc.max_fp16_share": 0.5,
        }
        config = load_config(None, settings, environment={})

        gone: list[str] = []

        def go_away(where: str) -> None:
            if where == "distil" and not gone:
                gone.append(where)
                s3.stop()

        makers = fake_makers(ReckoningWorkers(hook=go_away), lambda _name: bare)
        config.state.mkdir()
        served = assemble_service(config, StateFolder(config.state), makers)
        halt = threading.Event()
        worker = Worker(config=config, makers=makers, owner="one")
        thread = threading.Thread(target=worker.run, args=(halt,))
        thread.start()
        try:
            line = served.first
            send(served, range(40))
            board = served.lines.of(line).board
            _wait(lambda: any("is away" in one.reason for one in board.workers()))
            (said,) = board.workers()
            assert said.state == "blocked" and f"artifact store {s3.url}" in said.reason
            assert "AWS_ACCESS_KEY_ID" in said.reason  # what to look at
            (round_,) = served.ledger.newest(line)
            assert (round_.state, round_.num_errors) == (RoundState.DISTILLING, 0)
            s3.start()
            _wait(lambda: not served.ledger.newest(line)[0].is_open)
            (round_,) = served.ledger.newest(line)
            assert (round_.state, round_.reason) == (RoundState.DONE, "count")
            assert served.registry.newest_version(line) == 1
            kept = open_remote(s3.url).within("releases").list()
            assert f"lines/{line}/1.json" in kept
        finally:
            halt.set()
            thread.join(TIMEOUT_S)
            served.close()
