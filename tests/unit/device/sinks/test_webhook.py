"""A webhook's requests: signed, tried again, and never sent elsewhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator

import pytest

from driftline_device.sinks.courier import UndeliveredError
from driftline_device.sinks.event import Event
from driftline_device.sinks.webhook import Webhook, key_of, signature
from tests.fakes.clock import FakeClock
from tests.fakes.receiver import Receiver
from tests.unit.device.sinks.test_console import event


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.up()
    yield made
    made.down()


class Taken:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def __call__(self, event: Event, *, refused: str = "") -> None:
        self.events.append((event.body["answer"], refused))


def deliver(receiver: Receiver, *events: Event, **settings: object) -> list[tuple[str, str]]:
    hook = Webhook(receiver.url, clock=FakeClock(), **settings)  # type: ignore[arg-type]
    taken = Taken()
    hook.deliver(events, taken)
    return taken.events


def test_the_receiver_can_tell_who_sent_it_and_when(receiver: Receiver) -> None:
    secret = "whsec_" + base64.b64encode(b"k" * 24).decode()
    deliver(receiver, event(), secret=key_of(secret), authorization="Bearer token")
    ((headers, body),) = receiver.requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(b"k" * 24, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-id"] == event().id == json.loads(body)["id"]
    assert headers["authorization"] == "Bearer token"
    assert json.loads(body) == event().body


def test_the_example_of_the_standard() -> None:
    # Of the reference libraries' own tests (standard-webhooks, Apache-2.0).
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_plain_secrets_are_taken_as_they_are_and_broken_ones_named() -> None:
    assert key_of("correct horse") == b"correct horse"
    with pytest.raises(ValueError, match=r"."):
        key_of("whsec_no base64!")


@pytest.mark.parametrize("code", [400, 413, 422])
def test_what_would_be_refused_again_makes_room_for_the_next(receiver: Receiver, code: int) -> None:
    receiver.codes = [code]
    (bad, why), good = deliver(receiver, event("bad"), event("good"))
    assert (bad, good) == ("bad", ("good", "")) and why.startswith(f"HTTP {code} ")


@pytest.mark.parametrize("code", [301, 302, 307, 401, 403, 404, 408, 429, 500, 503])
def test_what_can_be_mended_there_is_tried_again(receiver: Receiver, code: int) -> None:
    receiver.codes = [code]
    receiver.headers = {"retry-after": "120", "location": receiver.url}
    with pytest.raises(UndeliveredError, match=f"HTTP {code}") as failed:
        deliver(receiver, event("one"), event("two"))
    assert failed.value.after_s == 120.0
    assert receiver.requests == [] and receiver.num_tries == 1


def test_a_receiver_that_hangs_is_left(receiver: Receiver) -> None:
    receiver.hangs.set()
    with pytest.raises(UndeliveredError, match="timed out"):
        deliver(receiver, event(), timeout_s=0.2)


def test_a_receiver_that_is_away_is_named_in_a_few_words(receiver: Receiver) -> None:
    receiver.down()
    with pytest.raises(UndeliveredError, match="Connection refused"):
        deliver(receiver, event())


def test_a_proxy_does_not_swallow_this_machine(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert deliver(receiver, event("one")) == [("one", "")]
