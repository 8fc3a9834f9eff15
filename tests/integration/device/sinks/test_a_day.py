"""A day in fast motion: an answer a minute, a real broker that is away for eight hours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from structlog.testing import capture_logs

from driftline_device.sinks.home_assistant import About
from driftline_device.sinks.settings import SinkConfig
from driftline_device.sinks.table import open_sinks
from tests.fakes.broker import Broker, Listener, needs_broker
from tests.fakes.clock import FakeClock
from tests.fakes.waiting import until
from tests.unit.device.sinks.test_console import event

pytestmark = [pytest.mark.integration, needs_broker]

MINUTES, GONE, BACK = 24 * 60, 6 * 60, 14 * 60


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "broker", "allow_anonymous true", "max_queued_messages 0")
    made.up()
    yield made
    made.down()


@pytest.mark.parametrize(("bound", "num_lost"), [(1000, 0), (100, 380)])
def test_nothing_is_lost_within_the_bound(
    tmp_path: Path, broker: Broker, bound: int, num_lost: int
) -> None:
    url = f"mqtt://127.0.0.1:{broker.port}"
    config = TypeAdapter(SinkConfig).validate_python(
        {"kind": "mqtt", "url": url, "max_waiting": bound}
    )
    about, clock = About(device_id="device-1", pair="tiny"), FakeClock()
    listener = Listener(broker)
    listener.start()
    (sink,) = open_sinks([config], about, state=tmp_path, clock=clock).values()
    with capture_logs() as logs:
        sink.start()
        for minute in range(MINUTES):
            if minute == GONE:
                until(lambda: sink.stats().num_waiting == 0)
                broker.down()
            if minute == BACK:
                until(lambda: sink.stats().error != "")
                broker.up()
                until(lambda: sink.stats().num_waiting == 0)
            if not GONE <= minute < BACK:  # a minute is enough for a broker that is there
                until(lambda: sink.stats().num_waiting < bound // 2)
            sink.offer(event(str(minute), id=f"{minute:032x}"))
            clock.advance(60.0)
        assert sink.close(30.0)
    until(lambda: len(listener.bodies()) == MINUTES - num_lost)
    listener.stop()
    came = [int(body["answer"]) for body in listener.bodies()]
    assert came == [n for n in range(MINUTES) if not GONE <= n < GONE + num_lost]
    assert sink.stats().num_dropped == num_lost
    # Once for the broker; and once where the queue was full, which ends when it has room again.
    told = [f"{what}.{end}" for what in ("outbox_room", "sink") for end in ("back", "lost")]
    assert sorted(each["event"] for each in logs) == told[0 if num_lost else 2 :]
