"""Answers on standard output, for people or as JSON lines.

A thread of its own writes: a terminal that is halted, or a pipe that nobody reads, holds up no
answer.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, TextIO

from driftline_device.sinks.event import ANSWER, Event
from driftline_device.sinks.outage import Outage
from driftline_device.sinks.sink import SinkStats
from driftline_shared.host.clock import Clock, SystemClock

MAX_WAITING = 10_000
"""Lines that may wait for whoever reads; later ones are left out, and counted."""

MAX_CHARACTERS = 200
"""Of a question, an answer or a place as shown to people."""


class Console:
    """The `Sink` that prints. `form`: how an event is one line."""

    name = "standard output"

    def __init__(self, out: TextIO, form: Callable[[dict[str, Any]], str], clock: Clock) -> None:
        self._out = out
        self._form = form
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._num_written = self._num_dropped = 0
        self._ending = False
        self._outage = Outage(
            "console", clock, fix="Answers go on; look at who reads the standard output."
        )
        self._thread = threading.Thread(target=self._run, name="driftline-console", daemon=True)

    def start(self) -> None:
        """See `Sink`."""
        self._thread.start()

    def offer(self, event: Event) -> None:
        """See `Sink`."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                self._num_dropped += 1
                too_slow = True
            else:
                self._waiting.append(event)
                too_slow = False
            self._changed.notify_all()
        if too_slow:
            self._outage.lost(f"{MAX_WAITING} lines wait and nobody reads them")

    def close(self, timeout_s: float) -> bool:
        """See `Sink`."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._waiting

    def stats(self) -> SinkStats:
        """See `Sink`."""
        return SinkStats(
            num_waiting=len(self._waiting),
            num_delivered=self._num_written,
            num_dropped=self._num_dropped,
            error=self._outage.error,
        )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ending)
                if not self._waiting:
                    return
                event = self._waiting[0]
            self._write(event)
            with self._changed:
                self._waiting.popleft()

    def _write(self, event: Event) -> None:
        try:
            line = self._form(event.body)
            encoding = self._out.encoding or "utf-8"
            self._out.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
            self._out.flush()
        except (OSError, ValueError) as error:  # a pipe whose reader is gone, a closed stream
            self._num_dropped += 1
            self._outage.lost(error)
        else:
            self._num_written += 1
            self._outage.back()


def console_on(out: TextIO, *, as_json: bool) -> Console:
    """A console that prints on `out`."""
    return Console(out, to_json if as_json else to_text, SystemClock())


def to_json(body: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(body, allow_nan=False)


def to_text(body: dict[str, Any]) -> str:
    """One line for people, times in this machine's zone."""
    time = datetime.fromisoformat(body["time"]).astimezone()
    if body["kind"] != ANSWER:
        return f"{time:%H:%M:%S}  {one_line(str(body.get('text', body['kind'])))}"
    uncertainty = body["uncertainty"]
    doubt = "unknown" if uncertainty is None else f"{uncertainty:.3f}"
    sent = ", for the cloud" if body["sent"] else ""
    place = body["place"] or body["source"]
    return (
        f"{time:%H:%M:%S}  {one_line(place)}  {one_line(body['question'])}  ->  "
        f"{one_line(body['answer'])}  (uncertainty {doubt}, version {body['version']}{sent})"
    )


def one_line(text: str) -> str:
    """`text` without line breaks and control characters, at most `MAX_CHARACTERS`."""
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[: MAX_CHARACTERS + 1]
    )
    return shown if len(text) <= MAX_CHARACTERS else shown[: MAX_CHARACTERS - 1] + "…"
