"""MQTT with a real broker: who may come in, what stays behind, and what is said of who is gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt import publish
from structlog.testing import capture_logs

from driftline_device.history.feedback import taker
from driftline_device.history.history import History
from driftline_device.sinks.commands import Commands
from driftline_device.sinks.courier import UndeliveredError
from driftline_device.sinks.event import WATCH, Event
from driftline_device.sinks.home_assistant import About
from driftline_device.sinks.mqtt import Broker as Address
from driftline_device.sinks.mqtt import Mqtt
from driftline_shared.host.clock import SystemClock
from tests.fakes.broker import Broker, Listener, needs_broker
from tests.fakes.waiting import until
from tests.unit.device.history.test_history import make_answer
from tests.unit.device.sinks.test_console import event

pytestmark = [pytest.mark.integration, needs_broker]

ABOUT = About(
    device_id="device-1", pair="tiny", standing=(("door", "Is it open?"),), watches=("too long",)
)
ANSWERS = "driftline/device-1/door/is_it_open"
AVAILABILITY = "driftline/device-1/availability"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path / "broker")
    made.up()
    yield made
    made.down()


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    made = Listener(broker)
    made.start()
    yield made
    made.stop()


def mqtt(port: int, *, keepalive_s: int = 60, **address: object) -> Mqtt:
    return Mqtt(
        Address(host="127.0.0.1", port=port, **address),  # type: ignore[arg-type]
        ABOUT,
        topic="driftline",
        client_id="device-1",
        discovery_prefix="homeassistant",
        timeout_s=5.0,
        keepalive_s=keepalive_s,
    )


def deliver(transport: Mqtt, *events: Event) -> int:
    num_taken = 0

    def taken(event: Event, *, refused: str = "") -> None:
        nonlocal num_taken
        num_taken += not refused

    transport.tend()
    transport.deliver(events, taken)
    return num_taken


def test_the_last_answer_of_a_standing_question_stays_for_who_comes_later(broker: Broker) -> None:
    transport = mqtt(broker.port)
    assert deliver(
        transport,
        event("no", question="Is it open?"),
        event("yes", question="Is it open?"),
        event("a cat", question="what is this?"),
    )
    late = Listener(broker)
    late.start()
    until(lambda: len(late.of(ANSWERS)) == 1 and len(late.of(AVAILABILITY)) == 1)
    assert json.loads(late.of(ANSWERS)[0])["answer"] == "yes"
    assert late.of("driftline/device-1/door") == []
    late.stop()
    transport.close()


def test_home_assistant_finds_questions_and_watches(broker: Broker, listener: Listener) -> None:
    transport = mqtt(broker.port)
    fired = Event(id="1", kind=WATCH, feed="door", body={"id": "1", "watch": "too long"})
    deliver(transport, event("yes", question="Is it open?"), fired)
    until(lambda: len(listener.messages) == 5)
    found = {topic: text for topic, text, _ in listener.messages}
    sensor, watch = (json.loads(text) for topic, text in found.items() if "/config" in topic)
    # What Home Assistant reads an entity by is where it looks.
    assert json.loads(found[sensor["state_topic"]])["answer"] == "yes"
    assert found[sensor["availability_topic"]] == "online"
    assert json.loads(found[watch["state_topic"]])["event_type"] in watch["event_types"]
    assert sensor["unique_id"] != watch["unique_id"]
    assert sensor["device"] == watch["device"]
    transport.close()
    until(lambda: listener.of(AVAILABILITY) == ["online", "offline"])


def test_the_broker_says_it_when_a_device_is_killed(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    program = tmp_path / "device.py"
    program.write_text(
        "import time\n"
        "from tests.integration.device.sinks.test_mqtt import deliver, mqtt\n"
        f"deliver(mqtt({broker.port}))\n"
        "print('there', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, env=_environment()
    )
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    until(lambda: listener.of(AVAILABILITY) == ["online"])
    process.kill()
    process.communicate()
    until(lambda: listener.of(AVAILABILITY) == ["online", "offline"])


def _environment() -> dict[str, str]:
    root = Path(__file__).parents[4]
    return {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}


def test_who_may_not_come_in_is_told_why(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("no mosquitto_passwd")
    subprocess.run([program, "-b", "-c", passwords, "me", "right"], check=True, capture_output=True)
    broker = Broker(tmp_path / "broker", "allow_anonymous false", f"password_file {passwords}")
    broker.up()
    try:
        for login in ({"user": "me", "password": "wrong"}, {}):
            with pytest.raises(UndeliveredError, match=r"(?i)not authori[sz]ed|user name"):
                deliver(mqtt(broker.port, **login), event())
        transport = mqtt(broker.port, user="me", password="right")
        assert deliver(transport, event()) == 1
        transport.close()
    finally:
        broker.down()


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_over_tls_only_a_broker_with_the_right_certificate(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl")
    for name in ("right", "other"):
        subprocess.run(
            [
                openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                "-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt",
                "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip
    broker = Broker(
        tmp_path / "broker",
        f"certfile {tmp_path / 'right.crt'}",
        f"keyfile {tmp_path / 'right.key'}",
        "allow_anonymous true",
    )
    broker.up()
    try:
        with pytest.raises(UndeliveredError, match="certificate verify failed"):
            deliver(mqtt(broker.port, tls=True, ca_file=str(tmp_path / "other.crt")), event())
        transport = mqtt(broker.port, tls=True, ca_file=str(tmp_path / "right.crt"))
        assert deliver(transport, event()) == 1
        transport.close()
    finally:
        broker.down()


def test_a_lost_connection_is_made_anew_without_an_event(broker: Broker) -> None:
    transport, calls = mqtt(broker.port), []
    transport.start(lambda: calls.append(1))
    transport.tend()
    broker.down()
    until(lambda: bool(calls))
    with pytest.raises(UndeliveredError, match="Connection refused"):
        transport.tend()
    broker.up()
    until(lambda: _tended(transport))
    late = Listener(broker)
    late.start()
    until(lambda: late.of(AVAILABILITY) == ["online"])
    late.stop()
    transport.close()


def _tended(transport: Mqtt) -> bool:
    try:
        transport.tend()
    except UndeliveredError:
        return False
    return True


FEEDBACK, RESULT = "driftline/device-1/feedback", "driftline/device-1/feedback/result"


def hearing(broker: Broker, history: History, state: Path) -> Mqtt:
    made = mqtt(broker.port)
    clock = SystemClock()
    take = taker(history, clock)
    made.listen(Commands(take, last=state / "mqtt.feedback", clock=clock, sink="mqtt"))
    return made


def say(broker: Broker, payload: str | bytes, *, retain: bool = False) -> None:
    info = publish.single(
        FEEDBACK, payload, qos=1, retain=retain, hostname="127.0.0.1", port=broker.port
    )
    assert info is None


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "state")
    made.add(make_answer(0xABCDE), None)
    made.add(make_answer(0xABCDF), None)
    made.flush()
    yield made
    made.close()


def results(listener: Listener, transport: Mqtt, num: int) -> list[dict[str, object]]:
    """The replies, once there are so many."""

    def there() -> bool:
        transport.tend()
        return len(listener.of(RESULT)) >= num

    until(there)
    return [json.loads(text) for text in listener.of(RESULT)]


def test_an_owner_marks_answers(
    broker: Broker, listener: Listener, history: History, tmp_path: Path
) -> None:
    transport = hearing(broker, history, tmp_path)
    transport.tend()
    say(broker, json.dumps({"id": "abcde", "wrong": True, "answer": "two"}))
    say(broker, json.dumps({"id": "abcdf", "right": True}))
    found = results(listener, transport, 2)
    assert [each["ok"] for each in found] == [True, True]
    assert (found[0]["right"], found[0]["answer"], found[0]["said"]) == (False, "two", "yes")
    marked = {each.id[-1]: (each.right, each.right_answer) for each in history.answers(most=9)}
    assert marked == {"e": (False, "two"), "f": (True, None)}
    transport.close()


def test_what_is_no_word_is_answered_and_told_once(
    broker: Broker, listener: Listener, history: History, tmp_path: Path
) -> None:
    bad = [
        "{", "[" * 9_000, '{"id": 3, "right": true}', '{"id": "abcde"}', b"x" * 200_000,
        '{"id": "abcde", "right": true, "wrong": true}', '{"id": "ffff1", "right": true}',
        '{"id": "abcde", "right": "yes"}', '{"id": "abcde", "wrong": true, "answer": " "}',
    ]  # fmt: skip
    transport = hearing(broker, history, tmp_path)
    transport.tend()
    with capture_logs() as logs:
        for each in bad:
            say(broker, each)
        found = results(listener, transport, len(bad))
    assert not any(each["ok"] for each in found) and all(each["error"] for each in found)
    assert sum(each["event"] == "feedback.refused" for each in logs) == 1
    assert all(each.right is None for each in history.answers(most=9))
    transport.close()


def test_a_retained_word_is_taken_once_whatever_connects_again(
    broker: Broker, listener: Listener, history: History, tmp_path: Path
) -> None:
    say(broker, json.dumps({"id": "abcde", "wrong": True}), retain=True)
    first = hearing(broker, history, tmp_path)
    assert results(listener, first, 1)[0]["ok"]
    first.close()
    history.unmark("abcde")  # the owner thought better of it
    again = hearing(broker, history, tmp_path)
    say(broker, json.dumps({"id": "abcdf", "right": True}))
    until(lambda: bool(again.tend() or history.find("abcdf").right))
    assert history.find("abcde").right is None
    assert len(results(listener, again, 2)) == 2
    again.close()


def test_what_is_said_to_a_device_that_is_away_is_taken_when_it_is_back(
    broker: Broker, listener: Listener, history: History, tmp_path: Path
) -> None:
    first = hearing(broker, history, tmp_path)
    first.tend()
    first.close()
    say(broker, json.dumps({"id": "abcde", "wrong": True}))
    again = hearing(broker, history, tmp_path)
    assert results(listener, again, 1)[0]["ok"] and history.find("abcde").right is False
    again.close()


def test_a_disk_that_takes_no_mark_is_said_and_holds_up_nothing(
    broker: Broker, listener: Listener, tmp_path: Path
) -> None:
    def full(_data: bytes) -> dict[str, object]:
        raise OSError(28, "No space left on device")

    transport = mqtt(broker.port)
    clock = SystemClock()
    transport.listen(Commands(full, last=tmp_path / "last", clock=clock, sink="mqtt"))
    transport.tend()
    say(broker, json.dumps({"id": "abcde", "right": True}))
    found = results(listener, transport, 1)
    assert (found[0]["ok"], found[0]["id"]) == (False, "abcde")
    assert deliver(transport, event("yes", question="Is it open?")) == 1
    transport.close()
