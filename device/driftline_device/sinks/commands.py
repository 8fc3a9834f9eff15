"""What an owner says over MQTT: marks that come in, each answered once it is noted.

A word is acknowledged to the broker after it was noted, so that a kill between the two has it come
again; noting it twice changes nothing. One that the broker kept as retained is shown at every
connection: what was taken lately is remembered on disk, and not taken again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import structlog

from driftline_shared.errors import DataError
from driftline_shared.host.clock import Clock
from driftline_shared.host.durable import read_bytes, write_atomic

MOST_WAITING = 100
"""Words held; a broker sends what was not acknowledged again."""

MOST_BYTES = 16 << 10
"""Of a word; of more no byte is read."""

MOST_REMEMBERED = 100
"""Words that are not taken again when the broker shows them as retained."""

TELL_S = 60.0
"""Words that are refused are told in the log once in so many seconds, with their number."""

MOST_ID_CHARS = 64
"""Of what was sent as an id, in the reply to it."""

_log = structlog.get_logger(__name__)

Take = Callable[[bytes], dict[str, Any]]
"""Notes a word, as JSON; what is noted now. Raises ValueError or DataError for one that cannot be,
sqlite3.Error or OSError where the disk does not take it.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """One message. `key`: what acknowledges it."""

    payload: bytes
    retained: bool
    key: tuple[int, int]


@runtime_checkable
class Hears(Protocol):
    """A transport that carries what the owner says."""

    def listen(self, commands: Commands) -> None:
        """Give it to `commands`; called before it starts."""


class Commands:
    """Words between the thread that hears them and the one that takes them."""

    def __init__(self, take: Take, *, last: Path, clock: Clock, sink: str) -> None:
        """`last`: the file that remembers which were taken last."""
        self._take = take
        self._last = last
        self._clock = clock
        self._sink = sink
        self._lock = threading.Lock()
        self._waiting: deque[Said] = deque()
        self._taken_lately = OrderedDict.fromkeys(_read(last))
        self._num_refused = 0
        self._told_s: float | None = None

    def hear(self, said: Said) -> bool:
        """Hold it until it is taken; False, and it is to come again, where too many wait."""
        if len(said.payload) > MOST_BYTES:
            said = replace(said, payload=said.payload[: MOST_BYTES + 1])
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting.append(said)
            return True

    def forget(self) -> None:
        """The connection is gone, and with it what could be acknowledged."""
        with self._lock:
            self._waiting.clear()

    def take(
        self, reply: Callable[[dict[str, Any]], None], acknowledge: Callable[[Said], None]
    ) -> None:
        """All that wait, in order."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                said = self._waiting[0]
            found = self._taken(said)
            if found is not None:
                reply(found)
            acknowledge(said)
            with self._lock:
                if self._waiting and self._waiting[0] is said:
                    self._waiting.popleft()

    def _taken(self, said: Said) -> dict[str, Any] | None:
        """The reply; None for one that was answered before."""
        if not said.payload:  # how a retained message is removed
            return None
        digest = hashlib.sha256(said.payload).hexdigest()
        known = digest in self._taken_lately
        self._taken_lately[digest] = None
        self._taken_lately.move_to_end(digest)
        if said.retained and known:
            return None
        try:
            if len(said.payload) > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
            found = {"ok": True, **self._take(said.payload)}
        except (ValueError, DataError) as error:
            self._tell(str(error))
            found = {"ok": False, "id": self._id_of(said.payload), "error": str(error)}
        except (sqlite3.Error, OSError) as error:
            self._tell(str(error))
            del self._taken_lately[digest]
            problem = f"it cannot be noted now, say it again later: {error}"
            return {"ok": False, "id": self._id_of(said.payload), "error": problem}
        while len(self._taken_lately) > MOST_REMEMBERED:
            self._taken_lately.popitem(last=False)
        with suppress(OSError):  # it is taken once more, which changes nothing
            write_atomic(self._last, "\n".join(self._taken_lately).encode(), durable=False)
        return found

    def _id_of(self, payload: bytes) -> str | None:
        """What was sent as an id, so that who sent it knows what the reply is to."""
        try:
            given = json.loads(payload)
        except (ValueError, RecursionError):
            return None
        found = given.get("id") if isinstance(given, dict) else None
        return found[:MOST_ID_CHARS] if isinstance(found, str) else None

    def _tell(self, error: str) -> None:
        self._num_refused += 1
        now_s = self._clock.monotonic_s()
        if self._told_s is None or now_s >= self._told_s + TELL_S:
            self._told_s = now_s
            _log.warning(
                "feedback.refused",
                sink=self._sink,
                num_refused=self._num_refused,
                error=error,
                fix="Each was answered under .../feedback/result; look at who sends it.",
            )
            self._num_refused = 0


def _read(path: Path) -> list[str]:
    try:
        data = read_bytes(path, 100 * MOST_REMEMBERED) or b""
    except (OSError, ValueError):
        return []
    return data.decode("ascii", "replace").splitlines()[:MOST_REMEMBERED]
