"""The durable spool: one SQLite file that survives kills, power cuts, a full disk and bad blocks.

A sample is one row, stored and evicted in one transaction; see `schema` for the file's layout.
Recovery is SQLite's: a transaction that did not commit never happened. A row that does not decode
is moved to `quarantine`; a file that does not read is set aside and a new one is started.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import structlog

from driftline_device.spool import schema
from driftline_device.spool.spool import SpoolStats, rank
from driftline_shared.errors import ConfigError, SampleError
from driftline_shared.wire import EncodedSample

VACUUM_PAGES = 512
"""Most pages given back to the disk after one ack: 2 MiB, so that no caller waits long."""

Result = TypeVar("Result")
_log = structlog.get_logger(__name__)


class SqliteSpool:
    """The `Spool` protocol on disk; may be used from any thread.

    `max_bytes` bounds the samples' bytes; pages, indices and the log may take as much again.
    A damaged file costs the samples in it, never the device. While the disk takes no more, appends
    fail one by one (logged once, counted) and acks are remembered until a write succeeds; should
    the process end before, those samples are sent again and the cloud knows them.
    `durable=False`: a power cut may cost samples, which suits a replay.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, max_samples: int, durable: bool = True
    ) -> None:
        self._durable = durable
        self._path = path
        self._max_bytes = max_bytes
        self._max_samples = max_samples
        self._lock = threading.RLock()
        self._num_failed = 0
        self._disk_fails = False
        self._pending: dict[bytes, str] = {}
        self._closed = False
        self._database: sqlite3.Connection | None = None
        try:
            self._guard(lambda _: None)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"the spool {path} cannot be opened: {error}") from error

    def append(self, sample: EncodedSample) -> bool:
        """Store `sample` durably; False if it was known, evicted at once, or the disk is full."""
        try:
            return self._guard(lambda database: self._append(database, sample))
        except sqlite3.Error as error:
            with self._lock:
                self._num_failed += 1
                self._note_failure(error)
            return False

    def peek(
        self, *, max_bytes: int, max_samples: int, after: int = 0
    ) -> Sequence[tuple[int, EncodedSample]]:
        """(sequence, sample) in order of arrival with sequence > `after`, at least one if any."""
        try:
            return self._guard(lambda database: self._peek(database, max_bytes, max_samples, after))
        except sqlite3.Error as error:
            self._note_failure(error)
            return []

    def ack(self, ids: Sequence[bytes]) -> int:
        """Forget the samples the cloud has; how many of them were here."""
        return self._forget(ids, "")

    def refuse(self, ids: Sequence[bytes], reason: str) -> int:
        """Forget samples the cloud will never take; they are counted under `reason`."""
        return self._forget(ids, reason or "unknown")

    def stats(self) -> SpoolStats:
        """Counts and bytes now."""
        try:
            return self._guard(
                lambda database: schema.read_stats(database, num_failed=self._num_failed)
            )
        except sqlite3.Error as error:
            self._note_failure(error)
            return schema.no_stats(num_failed=self._num_failed)

    def close(self) -> None:
        """Release file handles; what was appended stays."""
        with self._lock:
            self._closed = True
            self._drop_connection()

    # -- one transaction each ---------------------------------------------------------------------

    def _append(self, database: sqlite3.Connection, sample: EncodedSample) -> bool:
        num_bytes = len(sample.body)
        with self._transaction(database) as count:
            if database.execute("SELECT 1 FROM samples WHERE id = ?", (sample.id,)).fetchone():
                return False
            count["appended"] += 1
            if num_bytes > self._max_bytes:  # would push out everything else and then itself
                count["evicted"] += 1
                return False
            sequence = database.execute(
                "INSERT INTO samples (id, priority, bytes, body) VALUES (?, ?, ?, ?)",
                (sample.id, rank(sample.sample), num_bytes, sample.body),
            ).lastrowid
            count["samples"] += 1
            count["bytes"] += num_bytes
            return sequence not in self._evict(database, count)

    def _evict(self, database: sqlite3.Connection, count: Counter[str]) -> set[int]:
        """Delete the least informative rows until both bounds hold; their sequences."""
        held = schema.read_counts(database)
        evicted: set[int] = set()
        while (
            held["samples"] + count["samples"] > self._max_samples
            or held["bytes"] + count["bytes"] > self._max_bytes
        ):
            # The index holds all three columns: no row, however large, is read to be evicted.
            row = database.execute(schema.LEAST_INFORMATIVE).fetchone()
            if row is None:
                break
            database.execute("DELETE FROM samples WHERE seq = ?", (row[0],))
            evicted.add(row[0])
            count["samples"] -= 1
            count["bytes"] -= row[1]
            count["evicted"] += 1
        return evicted

    def _peek(
        self, database: sqlite3.Connection, max_bytes: int, max_samples: int, after: int
    ) -> list[tuple[int, EncodedSample]]:
        found: list[tuple[int, EncodedSample]] = []
        broken: list[tuple[int, str]] = []
        num_bytes = 0
        with closing(database.execute(schema.IN_ORDER, (after,))) as rows:
            for sequence, sample_id, priority, body in rows:
                if sample_id in self._pending:
                    continue
                if len(found) >= max(1, max_samples) or (found and num_bytes >= max_bytes):
                    break
                try:
                    sample = EncodedSample.read(body, priority=float(priority))
                    if sample.id != sample_id:
                        raise SampleError("row and body name two samples")
                except (SampleError, TypeError, ValueError) as error:
                    broken.append((sequence, str(error)))
                    continue
                num_bytes += len(body)
                if found and num_bytes > max_bytes:
                    break
                found.append((sequence, sample))
        for sequence, error_text in broken:
            self._quarantine(database, sequence, error_text)
        return found

    def _quarantine(self, database: sqlite3.Connection, sequence: int, error: str) -> None:
        """Move one row out of the queue: it must not block those behind it."""
        with self._transaction(database) as count:
            schema.quarantine(database, sequence, error, count)
        _log.error("spool.row_quarantined", path=str(self._path), sequence=sequence, error=error)

    def _forget(self, ids: Sequence[bytes], refusal: str) -> int:
        """Delete rows; where the disk refuses even that, remember to do so with the next write."""

        def delete(database: sqlite3.Connection) -> int:
            with self._transaction(database) as count:
                num = schema.delete(database, ids, refusal, count)
            schema.give_back_pages(database, VACUUM_PAGES)
            return num

        try:
            return self._guard(delete)
        except sqlite3.Error as error:
            with self._lock:
                self._pending.update(dict.fromkeys(ids, refusal))
                self._note_failure(error)
            return 0

    @contextmanager
    def _transaction(self, database: sqlite3.Connection) -> Iterator[Counter[str]]:
        """One transaction that ends with the changes of `counts` that its user noted."""
        count: Counter[str] = Counter()
        database.execute("BEGIN IMMEDIATE")
        try:
            for refusal in set(self._pending.values()):
                ids = [key for key, value in self._pending.items() if value == refusal]
                schema.delete(database, ids, refusal, count)
            yield count
            schema.add_counts(database, count)
            database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # SQLite rolls back by itself where the disk is full
                database.execute("ROLLBACK")
            raise
        self._pending.clear()
        if self._disk_fails:
            self._disk_fails = False
            _log.info("spool.writes_again", path=str(self._path), num_failed=self._num_failed)

    # -- the file ---------------------------------------------------------------------------------

    def _guard(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` alone; a damaged file is set aside and `work` done once more on a new one."""
        with self._lock:
            try:
                return work(self._connect())
            except sqlite3.Error as error:
                if self._closed or not schema.is_broken(error):
                    raise
                self._begin_anew(error)
                return work(self._connect())

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("the spool is closed")
        if self._database is None:
            self._database = schema.open_database(self._path, durable=self._durable)
        return self._database

    def _begin_anew(self, error: sqlite3.Error) -> None:
        self._drop_connection()
        aside = schema.set_aside(self._path)
        _log.error(
            "spool.set_aside",
            path=str(self._path),
            aside=str(aside),
            error=str(error),
            fix="The samples that waited are in the file set aside; check the disk.",
        )

    def _drop_connection(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _note_failure(self, error: sqlite3.Error) -> None:
        """Log a failure once per outage, not once per sample."""
        with self._lock:
            if self._closed:
                raise error
            if self._disk_fails:
                return
            self._disk_fails = True
        _log.error(
            "spool.disk_failed",
            path=str(self._path),
            error=str(error),
            fix="Free space on the disk; samples are dropped until then, answers go on.",
        )
