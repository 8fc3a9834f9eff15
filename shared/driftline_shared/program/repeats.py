"""Lines of a log that say the same again and again: once, then at most hourly, with how many were
left out in between.

What repeats is told by the event and its words; numbers, ids and what changes with every try are no
part of that. A line that ends an outage is written if the outage was, and lets the next one be told
at once, though not sooner than `AGAIN_S`. Beyond that, no event has more than `MOST` lines an hour,
whatever it names.

A process that is started again and again would say the same at every start: who starts it hands it
a file (`MEMORY`) in which what was told stays known from one to the next.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
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
    {
        "download.broken",
        "updates.waiting",
        "uplink.paused",
        "call.refused",
        "update.reported",
        "work.state",
        "work.started",
        "page.started",
    }
)
"""Events of routine levels that say the same at every try."""

ENDS: Mapping[str, tuple[str, ...]] = {
    "link.works_again": ("link.failed", "updates.waiting", "download.broken"),
    "spool.writes_again": ("spool.disk_failed",),
    "store.writes_again": ("store.write_failed", "store.failed"),
    "coordinator.works_again": ("coordinator.step_failed",),
    "work.works_again": ("work.held_up",),
    "work.starts_again": ("work.start_failed", "work.state"),
    "work.stays_up": ("work.ended", "work.started", "work.not_told"),
    "work.lines_read_again": ("work.lines_not_read",),
    "page.stays_up": ("page.ended", "page.started", "page.not_told"),
    "page.reads_again": ("page.not_read",),
    "answers.work_again": ("answers.step_failed",),
    "retention.works_again": ("retention.failed",),
    "rollout.steps_again": ("rollout.step_failed",),
    "rollout.view_is_new": ("rollout.view_is_old",),
    "serving.looks_again": ("serving.look_failed",),
    "trust.looks_again": ("trust.look_failed",),
    "serving.renewed_again": ("serving.not_renewed",),
    "serving.stamped_again": ("serving.not_stamped",),
}
"""By an event that ends an outage: the events that tell of one."""

MEMORY = "DRIFTLINE_LOG_TOLD"
"""Environment variable with the path of what was told by the processes before this one."""

_MOST_MEMORY = 1 << 20

NAMES = frozenset({"place", "path", "file", "version", "line", "base_model"})
"""Fields whose numbers are part of a name."""

_PASSED_OVER = frozenset({"event", "timestamp", "level", "fix", "exc_info", "exception"})

_DIGITS = re.compile(r"\b[0-9a-f]{8,}\b|\d+")
"""Numbers, and ids as hex."""

_MAX_WORDS = 200


@dataclass(slots=True)
class _Told:
    """When a line was written last, how many were left out since, whether its outage has ended."""

    at_s: float
    num_left_out: int = 0
    has_ended: bool = False


class RepeatLimit:
    """A structlog processor, after the level is known; safe from any thread."""

    def __init__(
        self,
        monotonic_s: Callable[[], float] = time.monotonic,
        *,
        memory: Path | None = None,
    ) -> None:
        """`memory`: what was told stays known there for a process that follows this one."""
        self._monotonic_s = monotonic_s
        self._memory = memory
        self._lock = threading.Lock()
        self._told: OrderedDict[tuple[str, ...], _Told] = OrderedDict()
        self._counts: dict[str, tuple[float, int]] = {}
        if memory is not None:
            self._remember(memory)

    def __call__(
        self, _logger: object, method: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event = str(line.get("event", ""))
        with self._lock:
            if (ends := ENDS.get(event)) is not None and not self._end(ends):
                raise structlog.DropEvent
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
        self._keep(key, now_s)
        self._note(key, now_s)
        return num_left_out

    def _keep(self, key: tuple[str, ...], at_s: float) -> None:
        self._told[key] = _Told(at_s)
        self._told.move_to_end(key)
        while len(self._told) > MAX_KEYS:
            self._told.popitem(last=False)

    def _end(self, events: Collection[str]) -> bool:
        """End the outages that `events` tell of; whether the end is news: one of them was told, or
        nothing is known of any.
        """
        known = [told for key, told in self._told.items() if key[0] in events]
        is_news = not known or any(not told.has_ended for told in known)
        for told in known:
            told.has_ended = True
        if known and is_news:
            self._note(tuple(events), None)
        return is_news

    def _note(self, key: tuple[str, ...], at_s: float | None) -> None:
        """In the memory: `key` was told at `at_s`; None: the outages of these events have ended."""
        if self._memory is not None:
            with suppress(OSError), self._memory.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, at_s]) + "\n")

    def _remember(self, memory: Path) -> None:
        with suppress(OSError, ValueError, TypeError):
            if memory.stat().st_size > _MOST_MEMORY:
                memory.write_bytes(b"")
            for row in memory.read_text(encoding="utf-8").split("\n")[:-1]:
                key, at_s = json.loads(row)
                if at_s is None:
                    for told in (one for name, one in self._told.items() if name[0] in key):
                        told.has_ended = True
                else:
                    self._keep(tuple(map(str, key)), float(at_s))


@contextmanager
def log_memory() -> Iterator[dict[str, str]]:
    """What to add to the environment of processes that are started one after another, so that they
    share what was told; nothing where no temporary file can be made.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="driftline-told-")
    except OSError:
        yield {}
        return
    with folder:
        yield {MEMORY: str(Path(folder.name) / "told")}


def remembered() -> Path | None:
    """Where whoever started this process keeps what was told; None: nowhere."""
    place = os.environ.get(MEMORY)
    return Path(place) if place else None


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
