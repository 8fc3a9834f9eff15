"""Lines of a log that say the same again and again: once, then at most hourly, with how many were
left out in between.

What repeats is told by the event and its words; numbers and what changes with every try are no
part of that. A line that ends an outage lets the next one be told at once, though not sooner than
`AGAIN_S`. Beyond that, no event has more than `MOST` lines an hour, whatever it names.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

EVERY_S = 3600.0
"""Seconds between two lines that say the same."""

AGAIN_S = 600.0
"""Seconds after which a new outage is told again."""

MOST = 100
"""Lines of one event in `EVERY_S`, whatever they name: a folder of a million broken files."""

MAX_KEYS = 2_000
"""Lines remembered; the longest unused go first."""

ROUTINE = frozenset({"debug", "info"})
"""Levels that are left alone, but for the events in `REPEATING`."""

REPEATING = frozenset(
    {"download.broken", "updates.waiting", "uplink.paused", "call.refused", "update.reported"}
)
"""Events of routine levels that say the same at every try."""

ENDS: Mapping[str, tuple[str, ...]] = {
    "link.works_again": ("link.failed", "updates.waiting", "download.broken"),
    "spool.writes_again": ("spool.disk_failed",),
    "store.writes_again": ("store.write_failed", "store.failed"),
    "coordinator.works_again": ("coordinator.step_failed",),
    "work.works_again": ("work.held_up",),
}
"""By an event that ends an outage: the events that tell of one."""

NAMES = frozenset({"place", "path", "file", "version"})
"""Fields whose numbers are part of a name."""

_PASSED_OVER = frozenset({"event", "timestamp", "level", "fix", "exc_info", "exception"})

_DIGITS = re.compile(r"\d+")

_MAX_WORDS = 200


@dataclass(slots=True)
class _Told:
    """When a line was written last, how many were left out since, whether its outage has ended."""

    at_s: float
    num_left_out: int = 0
    has_ended: bool = False


class RepeatLimit:
    """A structlog processor, after the level is known; safe from any thread."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._told: OrderedDict[tuple[str, ...], _Told] = OrderedDict()
        self._counts: dict[str, tuple[float, int]] = {}

    def __call__(
        self, _logger: object, method: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event = str(line.get("event", ""))
        with self._lock:
            for ended in ENDS.get(event, ()):
                self._end(ended)
            if method in ROUTINE and event not in REPEATING:
                return line
            num_left_out = self._take(event, _key(event, line))
        if num_left_out is None:
            raise structlog.DropEvent
        if num_left_out:
            line["num_left_out"] = num_left_out
        return line

    def _take(self, event: str, key: tuple[str, ...]) -> int | None:
        """How many were left out since the last of `key`; None where this one is, too."""
        now_s = self._monotonic_s()
        told = self._told.get(key)
        wait_s = EVERY_S if told is None or not told.has_ended else AGAIN_S
        if told is not None and now_s < told.at_s + wait_s:
            told.num_left_out += 1
            return None
        begun_s, count = self._counts.get(event, (now_s, 0))
        if now_s >= begun_s + EVERY_S:
            begun_s, count = now_s, 0
        self._counts[event] = begun_s, count + 1
        num_left_out = told.num_left_out if told is not None else 0
        if count >= MOST:
            if told is not None:
                told.num_left_out += 1
            return None
        self._told[key] = _Told(now_s)
        self._told.move_to_end(key)
        while len(self._told) > MAX_KEYS:
            self._told.popitem(last=False)
        return num_left_out

    def _end(self, event: str) -> None:
        for key, told in self._told.items():
            if key[0] == event:
                told.has_ended = True


def _key(event: str, line: Mapping[str, Any]) -> tuple[str, ...]:
    words = [event]
    for name in sorted(line.keys() - _PASSED_OVER):
        value = line[name]
        if name in NAMES:
            words.append(f"{name}={value}")
        elif not isinstance(value, int | float):
            words.append(f"{name}={_DIGITS.sub('#', str(value)[:_MAX_WORDS])}")
    if line.get("exc_info"):
        words.append(getattr(sys.exc_info()[0], "__name__", ""))
    return tuple(words)
