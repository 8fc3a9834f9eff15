"""A whole device with sinks: a broker that is away for hours, a receiver that says no, kill -9."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline_device.config import load_config
from driftline_device.daemon.snapshot import read_snapshot
from driftline_device.program.service import run_device
from driftline_device.sinks import courier
from driftline_shared.retry import Backoff
from tests.fakes.broker import Broker, Listener, needs_broker
from tests.fakes.receiver import Receiver
from tests.fakes.runtime import FakeRuntime, stream, write_dataset, write_pair
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

NUM = 300


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "driftline_device.program.assembly.make_runtime", lambda *_, **__: FakeRuntime()
    )
    defaults = courier.Courier.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "backoff", Backoff(first_s=0.05, cap_s=0.1))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "broker")
    yield made
    made.down()


@needs_broker
def test_answers_of_a_run_reach_broker_receiver_and_file(tmp_path: Path, broker: Broker) -> None:
    receiver, listener = Receiver(), Listener(broker)
    broker.up()
    listener.start()
    receiver.up()
    receiver.codes = [503, 500]
    config = load_config(
        None,
        {
            "state": str(tmp_path / "state"),
            "pair": str(write_pair(tmp_path / "pair")),
            "pace": 10.0,  # the run outlasts both refusals: who is away at its end waits
            "sinks": [
                {"kind": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}"},
                {"kind": "webhook", "url": receiver.url},
                {"kind": "file", "path": str(tmp_path / "answers.jsonl")},
            ],
        },
        {},
    )
    data = write_dataset(tmp_path / "data", stream(20, hard=False))
    snapshot = run_device(config, [str(data)], hold=False)
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == 20
    until(lambda: listener.bodies() == rows)
    assert receiver.bodies() == rows
    waiting = {name: each["num_waiting"] for name, each in snapshot["sinks"].items()}
    assert waiting == dict.fromkeys(("mqtt", "webhook", "file"), 0)
    assert read_snapshot(tmp_path / "state")["sinks"] == snapshot["sinks"], "after they drained"
    listener.stop()
    receiver.down()


@needs_broker
def test_answers_of_a_run_without_a_broker_wait_for_the_next_one(
    tmp_path: Path, broker: Broker
) -> None:
    config = load_config(
        None,
        {
            "state": str(tmp_path / "state"),
            "pair": str(write_pair(tmp_path / "pair")),
            "sinks": [{"kind": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}"}],
        },
        {},
    )
    data = write_dataset(tmp_path / "data", stream(NUM, hard=False))
    snapshot = run_device(config, [str(data)], hold=False)
    assert snapshot["sinks"]["mqtt"]["num_waiting"] == NUM
    assert "refused" in snapshot["sinks"]["mqtt"]["error"]

    broker.up()
    listener = Listener(broker)
    listener.start()
    more = write_dataset(tmp_path / "more", stream(1, hard=False))
    run_device(config, [str(more)], hold=False)
    until(lambda: len(listener.bodies()) == NUM + 1)
    times = [body["time"] for body in listener.bodies()]
    assert times == sorted(times)
    listener.stop()
