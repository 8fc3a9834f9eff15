"""What every sink promises, each kind with a real other side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from structlog.testing import capture_logs

from driftline_device.sinks import courier
from driftline_device.sinks.home_assistant import About
from driftline_device.sinks.settings import SinkConfig
from driftline_device.sinks.sink import Sink
from driftline_device.sinks.table import SINKS, open_sinks
from driftline_shared.host.clock import SystemClock
from driftline_shared.retry import Backoff
from tests.fakes.broker import Broker, Listener, needs_broker
from tests.fakes.receiver import Receiver
from tests.fakes.waiting import until
from tests.unit.device.sinks.test_console import event

ABOUT = About(device_id="device-1", pair="tiny", standing=(("door", "open?"),))


@dataclass
class OtherSide:
    """Where one kind of sink delivers to, here on this machine."""

    settings: dict[str, Any]
    up: Callable[[], None]
    down: Callable[[], None]
    bodies: Callable[[], list[dict[str, Any]]]
    end: Callable[[], None] = field(default=lambda: None)


def file_side(folder: Path) -> OtherSide:
    place = folder / "mnt"
    path = place / "events.jsonl"

    def bodies() -> list[dict[str, Any]]:
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def down() -> None:
        if place.is_dir():
            place.rename(folder / "unplugged")
        place.write_text("")

    def up() -> None:
        place.unlink(missing_ok=True)
        if (folder / "unplugged").exists():
            (folder / "unplugged").rename(place)

    return OtherSide({"kind": "file", "path": str(path)}, up, down, bodies)


def webhook_side(_folder: Path) -> OtherSide:
    receiver = Receiver()
    return OtherSide(
        {"kind": "webhook", "url": receiver.url, "timeout_s": 5.0},
        receiver.up,
        receiver.down,
        receiver.bodies,
        receiver.down,
    )


def mqtt_side(folder: Path) -> OtherSide:
    broker = Broker(folder / "broker")
    listener = Listener(broker)
    broker.up()
    listener.start()
    broker.down()

    def end() -> None:
        listener.stop()
        broker.down()

    return OtherSide(
        {"kind": "mqtt", "url": f"mqtt://127.0.0.1:{broker.port}", "timeout_s": 5.0},
        broker.up,
        broker.down,
        listener.bodies,
        end,
    )


SIDES = {"file": file_side, "webhook": webhook_side, "mqtt": mqtt_side}
KINDS = [
    "file",
    "webhook",
    pytest.param("mqtt", marks=[needs_broker, pytest.mark.integration]),
]


@pytest.fixture(params=KINDS)
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OtherSide]:
    made = SIDES[request.param](tmp_path)
    yield made
    made.end()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = courier.Courier.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "backoff", Backoff(first_s=0.05, cap_s=0.1))


def opened(side: OtherSide, folder: Path, **settings: object) -> Sink:
    config: Any = TypeAdapter(SinkConfig).validate_python({**side.settings, **settings})
    (sink,) = open_sinks([config], ABOUT, state=folder, clock=SystemClock()).values()
    return sink


def numbered(number: int) -> Any:
    return event(f"answer {number}", id=f"{number:032x}")


def ids(side: OtherSide) -> list[int]:
    return [int(body["id"], 16) for body in side.bodies()]


def test_every_kind_has_its_other_side_here() -> None:
    assert SIDES.keys() == SINKS.keys()


def test_events_arrive_in_order_as_they_were_published(side: OtherSide, tmp_path: Path) -> None:
    side.up()
    sink = opened(side, tmp_path)
    sink.start()
    for number in range(20):
        sink.offer(numbered(number))
    until(lambda: ids(side) == list(range(20)))
    assert side.bodies()[3] == numbered(3).body
    assert sink.close(10.0)
    assert sink.stats().num_delivered == 20


def test_one_that_is_away_holds_nobody_up_and_gets_all_when_it_is_back(
    side: OtherSide, tmp_path: Path
) -> None:
    side.down()
    with capture_logs() as logs:
        sink = opened(side, tmp_path)
        sink.start()
        sink.offer(numbered(0))
        until(lambda: sink.stats().error != "")
        for number in range(1, 200):
            sink.offer(numbered(number))
        assert sink.stats().num_waiting == 200
        side.up()
        until(lambda: ids(side) == list(range(200)))
        side.down()
        until(lambda: sink.stats().num_waiting == 0)
        sink.offer(numbered(200))
        until(lambda: sink.stats().error != "")
        side.up()
        until(lambda: ids(side) == list(range(201)))
        assert sink.close(10.0)
    told = [each["event"] for each in logs if each["event"].startswith("sink.")]
    assert told[:2] == ["sink.lost", "sink.back"] and told.count("sink.lost") == 1
    assert all(each["fix"] for each in logs if each["event"] == "sink.lost")


def test_what_waits_outlives_the_device(side: OtherSide, tmp_path: Path) -> None:
    side.down()
    sink = opened(side, tmp_path)
    sink.start()
    for number in range(30):
        sink.offer(numbered(number))
    until(lambda: sink.stats().error != "")
    assert not sink.close(10.0)
    side.up()
    later = opened(side, tmp_path)
    later.start()
    until(lambda: ids(side) == list(range(30)))
    assert later.close(10.0)


def test_the_oldest_go_first_where_too_much_waits(side: OtherSide, tmp_path: Path) -> None:
    side.down()
    sink = opened(side, tmp_path, max_waiting=10)
    sink.start()
    for number in range(25):
        sink.offer(numbered(number))
    assert (sink.stats().num_waiting, sink.stats().num_dropped) == (10, 15)
    side.up()
    until(lambda: ids(side)[-1:] == [24])
    # Of those that were on their way when their room went, some may have arrived.
    assert ids(side)[-10:] == list(range(15, 25))
    assert sink.close(10.0)
