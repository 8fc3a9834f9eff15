"""Events to an MQTT broker, each acknowledged by it (quality of service 1).

One connection at a time, made anew where it is lost. The broker says `offline` for a device that
went without a word (its last will).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion

from driftline_device.sinks.commands import Commands, Said
from driftline_device.sinks.courier import Taken, UndeliveredError
from driftline_device.sinks.event import ANSWER, WATCH, Event
from driftline_device.sinks.home_assistant import About, discovery
from driftline_device.sinks.topics import Topics

QOS = 1
GOODBYE_S = 2.0
"""For the last message to leave."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """Where a broker is, and how to get in; `ca_file`, `cert_file`, `key_file` only with `tls`."""

    host: str
    port: int
    tls: bool = False
    user: str = ""
    password: str = ""
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class Mqtt:
    """The `Transport` to `broker`. `discovery_prefix`: of Home Assistant; empty: tells it nothing.

    `timeout_s`: for a connection, and for an acknowledgement.
    """

    def __init__(
        self,
        broker: Broker,
        about: About,
        *,
        topic: str,
        client_id: str,
        discovery_prefix: str = "",
        timeout_s: float = 10.0,
        keepalive_s: int = 60,
    ) -> None:
        self._broker = broker
        self._about = about
        self._topics = Topics(topic, about.device_id, set(about.standing))
        self._client_id = client_id
        self._prefix = discovery_prefix
        self._timeout_s = timeout_s
        self._keepalive_s = keepalive_s
        self._client: Client | None = None
        self._commands: Commands | None = None
        self._wake: Callable[[], None] = lambda: None

    def listen(self, commands: Commands) -> None:
        """Take what the owner says, too; before `start`."""
        self._commands = commands

    def start(self, wake: Callable[[], None]) -> None:
        """See `Transport`."""
        self._wake = wake

    def tend(self) -> None:
        """Be connected, and have said so; take what the owner said."""
        if self._client is None or not self._client.is_connected():
            self._begin()
        if self._commands is not None:
            self._commands.take(self._reply, self._heard)

    def _begin(self) -> None:
        self._drop()
        self._client = self._connect()
        if self._commands is not None:
            self._client.subscribe(self._topics.feedback, QOS)
        self._publish(self._topics.availability, "online", retain=True)
        if self._prefix:
            for topic, payload in discovery(self._about, self._topics, self._prefix):
                self._publish(topic, payload, retain=True)

    def deliver(self, events: Sequence[Event], taken: Taken) -> None:
        """See `Transport`."""
        sent = [(event, self._send(event)) for event in events]
        for event, info in sent:
            self._acknowledged(info)
            taken(event)

    def close(self) -> None:
        """See `Transport`."""
        if self._client is not None and self._client.is_connected():
            info = self._client.publish(self._topics.availability, "offline", QOS, retain=True)
            _wait(info, GOODBYE_S)
        self._drop()

    def _send(self, event: Event) -> MQTTMessageInfo:
        body = event.body
        if event.kind == ANSWER:
            topic = self._topics.of_answer(event.feed, event.question)
        elif event.kind == WATCH:
            topic, body = self._topics.of_watch(body["watch"]), {"event_type": "fired", **body}
        else:
            topic = self._topics.of_kind(event.kind)
        retain = event.kind == ANSWER and self._topics.is_standing(event.feed, event.question)
        assert self._client is not None
        return self._client.publish(topic, json.dumps(body), QOS, retain)

    def _reply(self, found: dict[str, Any]) -> None:
        assert self._client is not None
        self._client.publish(self._topics.feedback_result, json.dumps(found), QOS)

    def _heard(self, said: Said) -> None:
        assert self._client is not None
        number, qos = said.key
        self._client.ack(number, qos)

    def _publish(self, topic: str, payload: str, *, retain: bool) -> None:
        assert self._client is not None
        self._acknowledged(self._client.publish(topic, payload, QOS, retain))

    def _acknowledged(self, info: MQTTMessageInfo) -> None:
        """Wait for the broker's word; a connection without one is given up."""
        if not _wait(info, self._timeout_s):
            self._drop()
            raise UndeliveredError(
                f"{self._shown}: no acknowledgement within {self._timeout_s:g} s"
            )

    @property
    def _shown(self) -> str:
        return f"{self._broker.host}:{self._broker.port}"

    def _connect(self) -> Client:
        broker, answered, said = self._broker, threading.Event(), []
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            # The broker keeps what is said to a device that is away, and sends again what it took
            # and did not acknowledge.
            clean_session=self._commands is None,
            manual_ack=self._commands is not None,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._timeout_s
        if broker.user:
            client.username_pw_set(broker.user, broker.password)
        client.will_set(self._topics.availability, "offline", QOS, retain=True)

        def on_connect(_client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
            if code.is_failure:
                said.append(str(code))
            answered.set()

        def on_disconnect(_client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
            if code.is_failure:
                said.append(str(code))
            answered.set()
            self._wake()

        def on_message(_client: Any, _data: Any, message: Any) -> None:
            key = (message.mid, message.qos)
            said = Said(payload=message.payload, retained=message.retain, key=key)
            if self._commands is not None and self._commands.hear(said):
                self._wake()

        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        client.on_message = on_message
        try:
            if broker.tls:
                client.tls_set(broker.ca_file, broker.cert_file, broker.key_file)
            client.connect(broker.host, broker.port, keepalive=self._keepalive_s)
        except (OSError, ValueError) as error:  # TLS errors are OSErrors, too
            said_so = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UndeliveredError(f"{self._shown}: {said_so}") from error
        client.loop_start()
        if not answered.wait(self._timeout_s) or said:
            _end(client)
            raise UndeliveredError(f"{self._shown}: {said[0] if said else 'it does not answer'}")
        return client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if self._commands is not None:
            self._commands.forget()
        if client is not None:
            _end(client)


def _wait(info: MQTTMessageInfo, timeout_s: float) -> bool:
    try:
        info.wait_for_publish(timeout_s)
        return bool(info.is_published())
    except (RuntimeError, ValueError):  # not connected, or too much waits
        return False


def _end(client: Client) -> None:
    client.on_disconnect = None
    client.disconnect()
    client.loop_stop()
