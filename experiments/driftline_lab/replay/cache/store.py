"""A bounded store of results by digest: one SQLite file, whose rows are checked when they are read.

A row that does not match its own sha256 is dropped and counts as missing; a file that SQLite does
not read is set aside and begun anew. So a cache may cost time, never a wrong result. What has not
been used for longest goes first. Nothing in here is unpickled.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from pathlib import Path

import structlog
from platformdirs import user_cache_path

from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import make_folder

MAX_BYTES = 2 << 30
"""Most bytes of all results (2 GiB) unless it is said otherwise."""

MAX_RESULT_BYTES = 256 << 20
"""A larger result is not kept."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS results (
    key BLOB PRIMARY KEY, sha256 BLOB NOT NULL, used INTEGER NOT NULL, num_bytes INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS results_by_use ON results (used);
"""
_KEYS_PER_QUERY = 500

_log = structlog.get_logger(__name__)


def default_folder() -> Path:
    """Where this user's replays keep results, by the rules of the platform."""
    return user_cache_path("driftline") / "replay"


class ResultStore:
    """Bytes by key in `<folder>/results.sqlite`; for several threads, and several processes."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Raises ConfigError for a folder that cannot be written."""
        self._path = folder / "results.sqlite"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        try:
            make_folder(folder)
            self._database = self._open()
        except (OSError, sqlite3.OperationalError) as error:
            raise ConfigError(
                f"cache {folder} cannot be used: {error}",
                fix="Name another folder with --cache, or mend or remove this one.",
            ) from error
        self._use = int(self._scalar("SELECT coalesce(max(used), 0) FROM results"))
        self._num_bytes = int(self._scalar("SELECT coalesce(sum(num_bytes), 0) FROM results"))

    @property
    def num_bytes(self) -> int:
        """Of all results."""
        return self._num_bytes

    def get(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """The results of those `keys` that are here and whole."""
        found: dict[bytes, bytes] = {}
        broken: list[bytes] = []
        with self._lock, self._database:
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                some = keys[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(some))
                rows = self._database.execute(
                    f"SELECT key, sha256, body FROM results WHERE key IN ({marks})", some
                )
                for key, sha256, body in rows:
                    right = hashlib.sha256(body).digest() == sha256
                    if right:
                        found[key] = body
                    else:
                        broken.append(key)
            self._use += 1
            self._database.executemany(
                "UPDATE results SET used = ? WHERE key = ?", [(self._use, key) for key in found]
            )
            self._drop(broken)
        if broken:
            _log.warning("cache.rows_broken", num_rows=len(broken))
        return found

    def put(self, results: dict[bytes, bytes]) -> None:
        """Keep results; what was kept under their keys before is replaced."""
        fitting = {k: v for k, v in results.items() if len(v) <= MAX_RESULT_BYTES}
        with self._lock, self._database:
            self._drop(list(fitting))
            self._use += 1
            self._database.executemany(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?)",
                [
                    (key, hashlib.sha256(body).digest(), self._use, len(body), body)
                    for key, body in fitting.items()
                ],
            )
            self._num_bytes += sum(len(body) for body in fitting.values())
            self._make_room()

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._database.close()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            aside = self._path.with_suffix(".broken")
            self._path.replace(aside)
            _log.warning("cache.begun_anew", aside=str(aside), cause=str(error))
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=30.0, check_same_thread=False)
        try:
            # What a power cut takes of a cache is computed again: no need to wait for the disk.
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=OFF")
            database.executescript(_SCHEMA)
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _drop(self, keys: list[bytes]) -> None:
        for key in keys:
            row = self._database.execute(
                "DELETE FROM results WHERE key = ? RETURNING num_bytes", (key,)
            ).fetchone()
            self._num_bytes -= 0 if row is None else int(row[0])

    def _make_room(self) -> None:
        while self._num_bytes > self._max_bytes:
            rows = self._database.execute(
                "SELECT key FROM results ORDER BY used, rowid LIMIT 64"
            ).fetchall()
            if not rows:
                return
            for (key,) in rows:
                if self._num_bytes > self._max_bytes:
                    self._drop([key])

    def _scalar(self, query: str) -> int:
        return int(self._database.execute(query).fetchone()[0])
