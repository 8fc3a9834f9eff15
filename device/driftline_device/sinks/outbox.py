"""Events on their way to a sink: a durable, bounded queue in one SQLite file.

Survives kill -9 at any line; a power cut may take the last moments with it (synchronous=NORMAL, to
spare the flash). When full, the oldest go first, and are counted. Where the file cannot be used,
some events are held in memory until it can be.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import structlog

from driftline_device.sinks.event import Event
from driftline_device.sinks.outage import Outage
from driftline_shared.host.clock import Clock
from driftline_shared.host.database import is_broken, set_aside, was_removed

MAX_IN_MEMORY = 1000
"""Events held while the file cannot be written."""

BUSY_TIMEOUT_S = 0.1
"""Whoever else reads the file may not hold up an answer for longer."""

_TABLE = """CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, bytes INTEGER NOT NULL, body TEXT NOT NULL
)"""

_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'events'"
_EMPTIED_FIX = "What waited in it is lost; look at who emptied it, and at the disk."
_REMOVED_FIX = "It is begun anew with what waited; leave it to the device while it runs."

_log = structlog.get_logger(__name__)


class Waiting(NamedTuple):
    """An event and its place in the queue."""

    place: int
    event: Event


class Outbox:
    """First in, first out, at most `max_events` and `max_bytes`; safe from any thread."""

    def __init__(self, path: Path, *, max_events: int, max_bytes: int, clock: Clock) -> None:
        self._path = path
        self._max_events, self._max_bytes = max_events, max_bytes
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._num_stored = self._num_bytes = 0
        self._memory: deque[Waiting] = deque()
        self._next_place = -1
        self._num_dropped = 0
        self._outage = Outage(
            "outbox",
            clock,
            fix=f"Make room, or let the device write there; up to {MAX_IN_MEMORY} events are held.",
            file=str(path),
        )
        self._full = Outage(
            "outbox_room",
            clock,
            fix="The oldest events are left out: look at the sink, or raise max_waiting.",
            file=str(path),
        )
        self._inode = 0
        with self._lock:
            self._use()

    @property
    def num_waiting(self) -> int:
        """Events in the queue."""
        with self._lock:
            return self._num_stored + len(self._memory)

    @property
    def num_dropped(self) -> int:
        """Events left out for want of room since the start."""
        return self._num_dropped

    def append(self, event: Event) -> None:
        """Put `event` at the end; raises nothing."""
        body = json.dumps(asdict(event))
        with self._lock:
            if self._use() and self._store([body]):
                return
            self._memory.append(Waiting(self._next_place, event))
            self._next_place -= 1
            if len(self._memory) > MAX_IN_MEMORY:
                self._memory.popleft()
                self._num_dropped += 1

    def peek(self, most: int) -> list[Waiting]:
        """The first events, at most `most`; they stay."""
        with self._lock:
            found: list[Waiting] = []
            if self._use():
                try:
                    found = self._read(most)
                except sqlite3.Error as error:
                    self._fail(error)
            return [*found, *list(self._memory)[: most - len(found)]]

    def remove(self, places: Collection[int]) -> None:
        """Let these go; those that are gone already are no matter."""
        with self._lock:
            self._memory = deque(each for each in self._memory if each.place not in places)
            stored = [place for place in places if place > 0]
            if stored and self._use():
                try:
                    self._delete(stored)
                except sqlite3.Error as error:  # they are delivered once more
                    self._fail(error)

    def close(self) -> None:
        """End; what waits stays in the file."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    # -- the file ---------------------------------------------------------------------------------

    def _use(self) -> bool:
        """Open the file if it is not, and give it what memory holds; whether it can be used."""
        if self._database is not None and was_removed(self._path, self._inode):
            self._leave_removed(self._database)
        if self._database is None:
            try:
                self._open()
            except (OSError, sqlite3.Error) as error:
                self._fail(error)
                return False
        if self._memory:
            held = [json.dumps(asdict(each.event)) for each in self._memory]
            if not self._store(held):
                return False
            self._memory.clear()
        return True

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        was_there = self._path.exists()
        database = sqlite3.connect(
            self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            if was_there and not database.execute(_HAS_TABLE).fetchone():
                _log.error("outbox.emptied", file=str(self._path), fix=_EMPTIED_FIX)
            database.execute(_TABLE)
            counted = database.execute("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM events")
            self._num_stored, self._num_bytes = counted.fetchone()
        except BaseException:
            database.close()
            raise
        self._database, self._inode = database, self._path.stat().st_ino

    def _leave_removed(self, database: sqlite3.Connection) -> None:
        """What waits in a file that has no name any more goes into a new one."""
        with suppress(sqlite3.Error, ValueError, TypeError):
            rows = database.execute("SELECT body FROM events ORDER BY seq").fetchall()
            held = [Event(**json.loads(body)) for (body,) in rows]
            places = range(self._next_place, self._next_place - len(held), -1)
            self._memory.extendleft(
                reversed([Waiting(*each) for each in zip(places, held, strict=True)])
            )
            self._next_place -= len(held)
        database.close()
        self._database = None
        num = len(self._memory)
        _log.error("outbox.removed", file=str(self._path), num_events=num, fix=_REMOVED_FIX)

    def _store(self, bodies: Collection[str]) -> bool:
        database = self._database
        assert database is not None
        sizes = [len(body) for body in bodies]
        try:
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany(
                    "INSERT INTO events (bytes, body) VALUES (?, ?)",
                    zip(sizes, bodies, strict=True),
                )
        except sqlite3.Error as error:
            self._fail(error)
            return False
        self._num_stored += len(sizes)
        self._num_bytes += sum(sizes)
        try:
            self._bound()
        except sqlite3.Error as error:
            self._fail(error)
        else:
            self._outage.back()
        return True

    def _bound(self) -> None:
        while self._num_stored > self._max_events or self._num_bytes > self._max_bytes:
            assert self._database is not None
            oldest = self._database.execute("SELECT seq FROM events ORDER BY seq LIMIT 1")
            self._num_dropped += self._delete([oldest.fetchone()[0]])
            self._full.lost(f"{self._max_events:,} events or {self._max_bytes:,} bytes wait")
        if self._full.error and self._num_stored * 2 < self._max_events:
            self._full.back(num_dropped=self._num_dropped)

    def _delete(self, places: Collection[int]) -> int:
        database, num, num_bytes = self._database, 0, 0
        assert database is not None
        with database:
            database.execute("BEGIN IMMEDIATE")
            for place in places:
                statement = "DELETE FROM events WHERE seq = ? RETURNING bytes"
                for (size,) in database.execute(statement, (place,)).fetchall():
                    num, num_bytes = num + 1, num_bytes + size
        self._num_stored -= num
        self._num_bytes -= num_bytes
        return num

    def _read(self, most: int) -> list[Waiting]:
        assert self._database is not None
        rows = self._database.execute("SELECT seq, body FROM events ORDER BY seq LIMIT ?", (most,))
        found, broken = [], []
        for place, body in rows.fetchall():
            try:
                found.append(Waiting(place, Event(**json.loads(body))))
            except (TypeError, ValueError):
                broken.append(place)
        if broken:
            self._num_dropped += self._delete(broken)
        return found

    def _fail(self, error: Exception) -> None:
        """The file cannot be used now; a broken one is set aside, and a new one begun."""
        self._outage.lost(error)
        if self._database is not None:
            self._database.close()
            self._database = None
        broken = isinstance(error, sqlite3.Error) and is_broken(error)
        if broken or self._path.is_dir():
            try:
                aside = set_aside(self._path)
            except OSError:
                return
            _log.error("outbox.broken", file=str(self._path), kept_as=str(aside))
