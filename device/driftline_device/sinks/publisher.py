"""Hands each answer on: to the file of events, to standard output, to the sinks of its feed."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import structlog

from driftline_device.sinks.event import AnswerRecord, CorrectionRecord, Event, answer_event
from driftline_device.sinks.outage import Outage
from driftline_device.sinks.sink import Sink
from driftline_shared.host.appended import AppendedFile
from driftline_shared.host.clock import Clock

CLOSE_S = 5.0
"""Most seconds that sinks may take at the end, all together."""

_log = structlog.get_logger(__name__)


class EventsFile:
    """One JSON line for each answer, written when it is given, and for each correction."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int, clock: Clock) -> None:
        """A path that cannot be written is tried again at each line, whatever stands there."""
        self._file = AppendedFile(path, max_bytes=max_bytes, keep=keep)
        self._lock = threading.Lock()
        self._outage = Outage(
            "events", clock, fix="Answers go on; make room, or correct `events`.", file=str(path)
        )

    def write(self, record: AnswerRecord | CorrectionRecord) -> None:
        """Append a line; where that fails it is left out, which is logged once."""
        with self._lock:
            try:
                self._file.append(json.dumps(record.row(), allow_nan=False))
            except OSError as error:
                self._outage.lost(error)
            else:
                if self._outage.error and self._file.has_room:
                    self._outage.back()

    def close(self) -> None:
        """End."""
        with self._lock:
            self._file.close()


class Firing(Protocol):
    """An event that a watch made, and the sinks that get it; none: all."""

    @property
    def event(self) -> Event:
        """What they get."""

    @property
    def sinks(self) -> tuple[str, ...]:
        """Their names."""


class Watches(Protocol):
    """The owner's rules on answers."""

    def answered(self, record: AnswerRecord) -> Sequence[Firing]:
        """What fires at this answer."""


class Publisher:
    """Where answers go: the file of events, the console, and the sinks that `routes` names for
    their feed, or those of `sinks` that are `subscribed`. What watches fire goes where they say.
    """

    def __init__(
        self,
        events: EventsFile | None = None,
        *,
        console: Sink | None = None,
        sinks: Sequence[Sink] = (),
        subscribed: Sequence[Sink] = (),
        routes: Mapping[str, Sequence[str]] | None = None,
        watching: Watches | None = None,
    ) -> None:
        self._events = events
        self._console = [console] if console is not None else []
        self._sinks = {sink.name: sink for sink in sinks}
        self._subscribed = list(subscribed)
        self._routes = {
            feed: [self._sinks[name] for name in names] for feed, names in (routes or {}).items()
        }
        self._watching = watching
        self._closed = False

    def start(self) -> None:
        """Begin to deliver."""
        for sink in self._all():
            sink.start()

    def answered(self, record: AnswerRecord) -> None:
        """Hand one answer on, at once; one thread at a time."""
        if self._events is not None:
            self._events.write(record)
        _offer(answer_event(record), self._subscribed_to(record.feed))
        if self._watching is not None:
            for firing in self._watching.answered(record):
                named = [self._sinks[name] for name in firing.sinks] or self._sinks.values()
                _offer(firing.event, [*self._console, *named])

    def corrected(self, record: CorrectionRecord) -> None:
        """Hand the teacher's answer to an earlier question on; from any thread."""
        if self._events is not None:
            self._events.write(record)
        _offer(record.event(), self._subscribed_to(record.feed))

    def _subscribed_to(self, feed: str) -> list[Sink]:
        return [*self._console, *self._routes.get(feed, self._subscribed)]

    def stats(self) -> dict[str, dict[str, Any]]:
        """Each sink now, by name."""
        return {sink.name: asdict(sink.stats()) for sink in self._sinks.values()}

    def close(self) -> None:
        """Give what waits a moment to leave, and end; once."""
        if self._closed:
            return
        self._closed = True
        for sink in self._all():
            if not sink.close(CLOSE_S):
                _log.warning("sink.left", sink=sink.name, num_waiting=sink.stats().num_waiting)
        if self._events is not None:
            self._events.close()

    def _all(self) -> list[Sink]:
        return [*self._console, *self._sinks.values()]


def _offer(event: Event, sinks: Iterable[Sink]) -> None:
    for sink in sinks:
        sink.offer(event)
