"""Every kind of sink by its settings: the one table. A new kind is a file and a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from driftline_device.sinks.commands import Commands, Hears, Take
from driftline_device.sinks.courier import Courier, Transport
from driftline_device.sinks.file import File
from driftline_device.sinks.home_assistant import About
from driftline_device.sinks.outbox import Outbox
from driftline_device.sinks.settings import (
    FileSink,
    MqttSink,
    SinkConfig,
    WebhookSink,
    name_of,
    secret_of,
)
from driftline_device.sinks.webhook import Webhook, key_of
from driftline_shared.errors import ConfigError, MissingPackageError
from driftline_shared.host.clock import Clock

FOLDER = "sinks"
"""Below the state folder: the queues."""

PORTS = {"mqtt": 1883, "mqtts": 8883}


def _file(given: FileSink, _about: About, _clock: Clock) -> Transport:
    return File(given.path, max_bytes=given.max_bytes, keep=given.keep)


def _webhook(given: WebhookSink, _about: About, clock: Clock) -> Transport:
    key = f"sinks.{name_of(given)}"
    url = secret_of(given.url, f"{key}.url")
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{key}.url: what {given.url} holds is no http(s) URL")
    try:
        secret = key_of(secret_of(given.secret, f"{key}.secret")) if given.secret else None
    except ValueError:
        raise ConfigError(f"{key}.secret: after whsec_ it is base64") from None
    return Webhook(
        url,
        clock=clock,
        secret=secret,
        authorization=secret_of(given.authorization, f"{key}.authorization"),
        ca_file=_readable(given.ca_file, f"{key}.ca_file"),
        timeout_s=given.timeout_s,
    )


def _mqtt(given: MqttSink, about: About, _clock: Clock) -> Transport:
    try:
        from driftline_device.sinks.mqtt import Broker, Mqtt
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "paho":
            raise
        raise MissingPackageError(
            "a sink of kind mqtt needs paho-mqtt", "pip install 'driftline[mqtt]'"
        ) from error
    key, parts = f"sinks.{name_of(given)}", urlsplit(given.url)
    broker = Broker(
        host=parts.hostname or "",
        port=parts.port or PORTS[parts.scheme],
        tls=parts.scheme == "mqtts",
        user=given.user,
        password=secret_of(given.password, f"{key}.password"),
        ca_file=_readable(given.ca_file, f"{key}.ca_file"),
        cert_file=_readable(given.cert_file, f"{key}.cert_file"),
        key_file=_readable(given.key_file, f"{key}.key_file"),
    )
    return Mqtt(
        broker,
        about,
        topic=given.topic,
        client_id=given.client_id or about.device_id,
        discovery_prefix=given.discovery,
        timeout_s=given.timeout_s,
        keepalive_s=given.keepalive_s,
    )


SINKS: dict[str, Callable[[Any, About, Clock], Transport]] = {
    "file": _file,
    "mqtt": _mqtt,
    "webhook": _webhook,
}


def open_sinks(
    settings: Sequence[SinkConfig],
    about: About,
    *,
    state: Path,
    clock: Clock,
    feedback: Take | None = None,
) -> dict[str, Courier]:
    """A sink for each, by name; ConfigError where a secret or a package is missing. `feedback`:
    notes what the owner says over those that hear.
    """
    transports = [SINKS[each.kind](each, about, clock) for each in settings]
    for each, transport in zip(settings, transports, strict=True):
        if feedback and isinstance(transport, Hears) and getattr(each, "feedback", False):
            name = name_of(each)
            last = state / FOLDER / f"{name}.feedback"
            transport.listen(Commands(feedback, last=last, clock=clock, sink=name))
    return {
        name_of(each): Courier(
            name_of(each),
            transport,
            Outbox(
                state / FOLDER / f"{name_of(each)}.sqlite",
                max_events=each.max_waiting,
                max_bytes=each.max_waiting_bytes,
                clock=clock,
            ),
            clock,
            kind=each.kind,
        )
        for each, transport in zip(settings, transports, strict=True)
    }


def _readable(path: Path | None, key: str) -> str | None:
    if path is None:
        return None
    if not path.is_file():
        raise ConfigError(f"{key}: {path} is no file")
    return str(path)
