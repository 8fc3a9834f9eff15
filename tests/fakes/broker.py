"""A real MQTT broker, mosquitto, on a free port of loopback, and somebody who listens to it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from driftline_shared.host.loopback import free_port
from tests.fakes.waiting import until

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
needs_broker = pytest.mark.skipif(PROGRAM is None, reason="no mosquitto (Debian: mosquitto)")


class Broker:
    """mosquitto, started and stopped at will; it keeps what it must over a stop.

    `settings`: further lines of its configuration.
    """

    def __init__(self, folder: Path, *settings: str, port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self._config = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {folder}/",
            f"pid_file {folder / 'mosquitto.pid'}",
            "user root",
            *(settings or ["allow_anonymous true"]),
        ]
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        """Start, and be there."""
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._is_there)

    def _is_there(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def down(self) -> None:
        """Stop, in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None


class Listener:
    """Subscribes to everything; the broker keeps messages for it while it is away."""

    def __init__(self, broker: Broker, **login: str) -> None:
        self._lock = threading.Lock()
        self.messages: list[tuple[str, str, bool]] = []
        self._subscribed = threading.Event()
        client = Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
        if login:
            client.username_pw_set(login["user"], login["password"])
        client.on_connect = lambda *_: client.subscribe("#", 1)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = lambda _client, _data, message: self._take(message)
        client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client, self._broker = client, broker

    def start(self) -> None:
        """Connect, and be subscribed."""
        self._client.connect("127.0.0.1", self._broker.port)
        self._client.loop_start()
        assert self._subscribed.wait(20)

    def stop(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, message: Any) -> None:
        with self._lock:
            found = (message.topic, message.payload.decode(), bool(message.retain))
            self.messages.append(found)

    def bodies(self) -> list[dict[str, Any]]:
        """Answers and watches so far, without doubles, in the order in which they came first."""
        with self._lock:
            texts = [text for topic, text, _ in self.messages if "/config" not in topic]
        found = {}
        for text in texts:
            if text.startswith("{"):
                body = json.loads(text)
                found.setdefault(body["id"], body)
        return list(found.values())

    def of(self, topic: str) -> list[str]:
        """What came under `topic`."""
        with self._lock:
            return [text for where, text, _ in self.messages if where == topic]
