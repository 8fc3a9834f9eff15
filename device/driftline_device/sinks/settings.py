"""Settings of sinks: one `[[sinks]]` table each. No secret stands in them: each names where it
lies, `env:NAME` (an environment variable) or `file:PATH` (the first line of a file).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_serializer, field_validator

from driftline_device.sources.address import without_secrets
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import read_bytes
from driftline_shared.program.section import Section, setting

MAX_SECRET_BYTES = 1 << 16
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
"""What sinks, watches and feeds may be called: names are parts of topics and files."""

_FROM = ("env:", "file:")


class SinkSettings(Section):
    """What every sink has."""

    name: str = Field(
        default="", pattern=r"^$|" + NAME, description="of this sink; not set: its kind"
    )
    answers: bool = setting(
        True, "it gets every answer, but of feeds that name sinks; false: only what names it"
    )
    max_waiting: int = setting(
        100_000, "events that wait while it is away; the oldest go first", ge=1
    )
    max_waiting_bytes: int = setting(64 << 20, "and their bytes", ge=1 << 12)


class FileSink(SinkSettings):
    """JSON lines in a file."""

    kind: Literal["file"]
    path: Path = Field(description="the file")
    max_bytes: int = setting(64 << 20, "begin it anew after so many bytes", ge=1 << 12)
    keep: int = setting(3, "older ones that stay beside it", ge=0, le=100)


class MqttSink(SinkSettings):
    """An MQTT broker."""

    kind: Literal["mqtt"]
    url: str = Field(description="`mqtt://host:1883`, or with TLS `mqtts://host:8883`")
    user: str = setting("", "empty: none")
    password: str = setting("", "`env:NAME` or `file:PATH`")
    ca_file: Path | None = setting(None, "of the broker's certificate; not set: the system's")
    cert_file: Path | None = setting(None, "of this device, where the broker asks for one")
    key_file: Path | None = setting(None, "its key")
    topic: str = setting("driftline", "below it all is published: `<topic>/<device>/...`")
    client_id: str = setting("", "empty: the device's id")
    discovery: str = setting(
        "homeassistant", "prefix under which Home Assistant finds devices; empty: it is told none"
    )
    feedback: bool = setting(
        True, "take the owner's word on answers, sent to `<topic>/<device>/feedback`"
    )
    keepalive_s: int = setting(60, "the broker says `offline` after 1.5 times this", ge=1, le=65535)
    timeout_s: float = setting(10.0, "for a connection, and for an acknowledgement", gt=0)

    @field_validator("url")
    @classmethod
    def _of_a_broker(cls, value: str) -> str:
        _check_url(value, ("mqtt", "mqtts"), "for example mqtt://192.168.1.5:1883")
        return value

    @field_validator("topic")
    @classmethod
    def _no_wildcards(cls, value: str) -> str:
        if not value or set(value) & set("+#\0") or value.startswith("$"):
            raise ValueError("a topic without + and #, for example driftline")
        return value.strip("/")

    @field_validator("password")
    @classmethod
    def _not_here(cls, value: str) -> str:
        return _checked_reference(value)


class WebhookSink(SinkSettings):
    """An HTTP receiver."""

    kind: Literal["webhook"]
    url: str = Field(
        description="`https://...`; one that is a secret itself: `env:NAME` or `file:PATH`"
    )
    secret: str = setting("", "`env:NAME` or `file:PATH`: what events are signed with; empty: not")
    authorization: str = setting(
        "", "`env:NAME` or `file:PATH`: what is sent as the header of that name"
    )
    ca_file: Path | None = setting(None, "of the receiver's certificate; not set: the system's")
    timeout_s: float = setting(10.0, "for its reply", gt=0)

    @field_validator("url")
    @classmethod
    def _of_a_receiver(cls, value: str) -> str:
        if not value.startswith(_FROM):
            _check_url(value, ("http", "https"), "for example https://example.org/hook")
        return value

    @field_validator("secret", "authorization")
    @classmethod
    def _not_here(cls, value: str) -> str:
        return _checked_reference(value)

    @field_serializer("url")
    def _without_secrets(self, value: str) -> str:
        return value if value.startswith(_FROM) else without_secrets(value)


SinkConfig = Annotated[FileSink | MqttSink | WebhookSink, Field(discriminator="kind")]
"""One `[[sinks]]` table."""

KINDS: Mapping[str, type[SinkSettings]] = {
    "file": FileSink,
    "mqtt": MqttSink,
    "webhook": WebhookSink,
}
"""For the tables in docs/operations.md."""


def name_of(sink: FileSink | MqttSink | WebhookSink) -> str:
    """What the sink is called."""
    return sink.name or sink.kind


def check_names(names: Sequence[str], what: str) -> None:
    """ValueError if two are called the same."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two {what} are called {name!r}: give each a `name` of its own")


def secret_of(reference: str, key: str, environment: Mapping[str, str] = os.environ) -> str:
    """What `reference` names, or the text itself where it names nothing; ConfigError about `key`
    where it is not there.
    """
    if reference.startswith("env:"):
        name = reference.removeprefix("env:")
        if not environment.get(name):
            raise ConfigError(f"{key}: the environment variable {name} is not set")
        return environment[name]
    if reference.startswith("file:"):
        path = Path(reference.removeprefix("file:")).expanduser()
        try:
            data = read_bytes(path, MAX_SECRET_BYTES)
            if data is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            lines = data.decode().splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{key}: {path} cannot be read: {error}") from None
        if not lines or not lines[0].strip():
            raise ConfigError(f"{key}: the first line of {path} is empty")
        return lines[0].strip()
    return reference


def _checked_reference(value: str) -> str:
    if value and not (value.startswith(_FROM) and value.partition(":")[2]):
        raise ValueError("is env:NAME or file:PATH, so that no secret stands in a configuration")
    return value


def _check_url(value: str, schemes: Sequence[str], example: str) -> None:
    try:
        parts = urlsplit(value)
        known = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
        parts = urlsplit("")
    if not known:
        raise ValueError(f"begins with {'://, or '.join(schemes)}:// and names a host; {example}")
    if parts.username or parts.password:
        raise ValueError("holds a user or password: give these with keys of their own")
