"""Checks of the sinks: their secrets, their queues on disk, and whether somebody is there. Nothing
is delivered.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from driftline_device.config import DeviceConfig
from driftline_device.sinks.home_assistant import About
from driftline_device.sinks.settings import FileSink, MqttSink, WebhookSink, name_of, secret_of
from driftline_device.sinks.table import FOLDER, PORTS, SINKS
from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import SystemClock
from driftline_shared.host.database_reading import open_read_only
from driftline_shared.program.checks import Check, fail, ok, warn

TIMEOUT_S = 5.0
"""For a connection to a sink."""

AnySink = FileSink | MqttSink | WebhookSink


def check_sinks(config: DeviceConfig) -> Check:
    """The first thing that is wrong with any sink; what cannot heal by itself comes first."""
    found = [each for sink in config.sinks for each in _of(sink, config.state)]
    for verdict in ("fail", "warn"):
        for each in found:
            if each.verdict == verdict:
                return each
    return ok("sinks", f"{', '.join(map(name_of, config.sinks))}: there")


def _of(sink: AnySink, state: Path) -> Iterator[Check]:
    name = name_of(sink)
    try:
        SINKS[sink.kind](sink, About(device_id="doctor", pair=""), SystemClock())
    except ConfigError as error:
        yield fail("sinks", str(error), error.fix)
        return
    yield from _of_queue(name, state / FOLDER / f"{name}.sqlite")
    try:
        _reach(sink, name)
    except OSError as error:
        yield warn(
            "sinks",
            f"{name}: {error.strerror or error}",
            "Events wait and are delivered when it is back; look at its address and network.",
        )


def _of_queue(name: str, path: Path) -> Iterator[Check]:
    if not path.exists():
        return
    fix = "The device sets it aside and begins a new queue; check the disk."
    if not path.is_file():
        yield fail("sinks", f"{name}: {path} is no file", fix)
        return
    try:
        with closing(open_read_only(path)) as database:
            verdict = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
            database.execute("SELECT COUNT(*) FROM events")
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        yield fail("sinks", f"{name}: {path} is damaged: {verdict}", fix)


def _reach(sink: AnySink, name: str) -> None:
    if isinstance(sink, FileSink):
        near = sink.path.absolute().parents[:2]  # no more than the last folder is made
        folder = next((each for each in near if each.is_dir()), None)
        if folder is None:
            raise OSError(f"{near[-1]} is not there: is the disk mounted?")
        if sink.path.is_dir() or not os.access(folder, os.W_OK):
            raise OSError(f"{sink.path} cannot be written")
        return
    parts = urlsplit(secret_of(sink.url, f"sinks.{name}.url"))
    port = parts.port or {**PORTS, "http": 80, "https": 443}[parts.scheme]
    with socket.create_connection((parts.hostname or "", port), timeout=TIMEOUT_S):
        pass
