"""Hands each answer on: to the file of events, to standard output, to the sinks of its feed."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from driftline_device.sinks.event import AnswerRecord, answer_event
from driftline_device.sinks.outage import Outage
from driftline_device.sinks.rotating import RotatingFile
from driftline_device.sinks.sink import Sink
from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import Clock

CLOSE_S = 5.0
"""Most seconds that sinks may take at the end, all together."""

_log = structlog.get_logger(__name__)


class EventsFile:
    """One JSON line for each answer, written when it is given."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int, clock: Clock) -> None:
        """Raises ConfigError for a path that can never be written; others are tried again."""
        if path.is_dir():
            raise ConfigError(f"events: {path} is a folder; name a file")
        self._file = RotatingFile(path, max_bytes=max_bytes, keep=keep)
        self._lock = threading.Lock()
        self._outage = Outage(
            "events", clock, fix="Answers go on; make room, or correct `events`.", file=str(path)
        )

    def write(self, record: AnswerRecord) -> None:
        """Append a line; where that fails it is left out, which is logged once."""
        with self._lock:
            try:
                self._file.append(json.dumps(record.row(), allow_nan=False))
            except OSError as error:
                self._outage.lost(error)
            else:
                self._outage.back()

    def close(self) -> None:
        """End."""
        with self._lock:
            self._file.close()


class Publisher:
    """Where answers go: the file of events, the console, and those of `sinks` that are
    `subscribed` to answers.
    """

    def __init__(
        self,
        events: EventsFile | None = None,
        *,
        console: Sink | None = None,
        sinks: Sequence[Sink] = (),
        subscribed: Sequence[Sink] = (),
    ) -> None:
        self._events = events
        self._console = [console] if console is not None else []
        self._sinks = list(sinks)
        self._subscribed = list(subscribed)

    def start(self) -> None:
        """Begin to deliver."""
        for sink in self._console + self._sinks:
            sink.start()

    def answered(self, record: AnswerRecord) -> None:
        """Hand one answer on; at once."""
        if self._events is not None:
            self._events.write(record)
        event = answer_event(record)
        for sink in self._console + self._subscribed:
            sink.offer(event)

    def stats(self) -> dict[str, dict[str, Any]]:
        """Each sink now, by name."""
        return {sink.name: asdict(sink.stats()) for sink in self._sinks}

    def close(self) -> None:
        """Give what waits a moment to leave, and end."""
        for sink in self._console + self._sinks:
            if not sink.close(CLOSE_S):
                _log.warning("sink.left", sink=sink.name, num_waiting=sink.stats().num_waiting)
        if self._events is not None:
            self._events.close()
