"""The durable spool: one SQLite file that survives kills, power cuts, a full disk and bad blocks.

A sample is one row, stored and evicted in one transaction; see `schema` for the file's layout.
Recovery is SQLite's: a transaction that did not commit never happened. A row that does not decode
is moved to `quarantine`; a file that does not read is set aside and a new one is started. While the
disk takes nothing (full, read-only, gone), samples wait in memory, and go to disk when it does.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import structlog

from driftline_device.spool import schema
from driftline_device.spool.overflow import FIRST_SEQUENCE, Overflow
from driftline_device.spool.spool import SpoolStats, rank
from driftline_shared.errors import SampleError
from driftline_shared.host.database import is_broken, set_aside, was_removed
from driftline_shared.host.durable import clear_way, error_text
from driftline_shared.wire import EncodedSample

VACUUM_PAGES = 512
"""Most pages given back to the disk after one ack: 2 MiB, so that no caller waits long."""

AGAIN_S = 1.0
"""After so many seconds a file that could not be opened, or takes nothing, is tried again."""

Result = TypeVar("Result")
_log = structlog.get_logger(__name__)


class SqliteSpool:
    """The `Spool` protocol on disk; may be used from any thread.

    `max_bytes` bounds the samples' bytes; pages, indices and the log may take as much again.
    A damaged file costs the samples in it, never the device. While the disk takes no more, appended
    samples wait in memory (logged once, counted) and acks are remembered until a write succeeds;
    should the process end before, the former are lost, which is logged, and the latter sent again:
    the cloud knows them. `durable=False`: a power cut may cost samples, which suits a replay.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        max_samples: int,
        durable: bool = True,
        monotonic_s: Callable[[], float] = time.monotonic,
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
        self._inode = 0
        self._overflow = Overflow(max_bytes=max_bytes, max_samples=max_samples)
        self._monotonic_s = monotonic_s
        self._open_again_s = -math.inf
        self._flush_s = -math.inf
        with suppress(OSError):
            self._look_at_the_file()
        try:
            self._guard(lambda _: None)
        except sqlite3.Error as error:
            self._note_failure(error)

    def append(self, sample: EncodedSample) -> bool:
        """Store `sample` durably, or in memory while the disk takes nothing; False if it was known
        or evicted at once.
        """
        with self._lock:
            try:
                return self._guard(lambda database: self._append(database, sample))
            except sqlite3.Error as error:
                self._num_failed += 1
                self._note_failure(error)
                return self._overflow.append(sample)

    def peek(
        self, *, max_bytes: int, max_samples: int, after: int = 0
    ) -> Sequence[tuple[int, EncodedSample]]:
        """(sequence, sample) in order of arrival with sequence > `after`, at least one if any."""
        found: list[tuple[int, EncodedSample]] = []
        with self._lock:
            if after < FIRST_SEQUENCE:
                try:
                    found = self._guard(
                        lambda database: self._peek(database, max_bytes, max_samples, after)
                    )
                except sqlite3.Error as error:
                    self._note_failure(error)
            num_bytes = sum(len(sample.body) for _, sample in found)
            if found and (num_bytes >= max_bytes or len(found) >= max_samples):
                return found
            more = self._overflow.peek(
                max_bytes=max_bytes - num_bytes, max_samples=max_samples - len(found), after=after
            )
            return found + more

    def find(self, ids: Sequence[bytes]) -> Sequence[tuple[int, EncodedSample]]:
        """See `Spool`; a row that does not decode is left to `peek`."""
        found: list[tuple[int, EncodedSample]] = []

        def read(database: sqlite3.Connection) -> None:
            for one in ids:
                row = database.execute(schema.BY_ID, (one,)).fetchone()
                if row is not None:
                    with suppress(SampleError):
                        found.append((row[0], EncodedSample.read(row[2], priority=row[1])))

        with self._lock:
            try:
                self._guard(read)
            except sqlite3.Error as error:
                self._note_failure(error)
            return [*sorted(found, key=lambda row: row[0]), *self._overflow.find(ids)]

    def ack(self, ids: Sequence[bytes]) -> int:
        """Forget the samples the cloud has; how many of them were here."""
        return self._forget(ids, "")

    def refuse(self, ids: Sequence[bytes], reason: str) -> int:
        """Forget samples the cloud will never take; they are counted under `reason`."""
        return self._forget(ids, reason or "unknown")

    def stats(self) -> SpoolStats:
        """Counts and bytes now."""
        with self._lock:
            self._flush_overflow()
            try:
                found = self._guard(
                    lambda database: schema.read_stats(database, num_failed=self._num_failed)
                )
            except sqlite3.Error as error:
                self._note_failure(error)
                found = schema.no_stats(num_failed=self._num_failed)
            if not self._overflow and not self._overflow.num_evicted:
                return found
            return replace(
                found,
                num_samples=found.num_samples + len(self._overflow),
                num_bytes=found.num_bytes + self._overflow.num_bytes,
                num_evicted=found.num_evicted + self._overflow.num_evicted,
            )

    def close(self) -> None:
        """Release file handles; what was appended stays."""
        with self._lock:
            self._flush_overflow(at_once=True)
            if self._overflow and not self._closed:
                _log.error(
                    "spool.samples_lost",
                    num_samples=len(self._overflow),
                    fix="The disk took none of them until the end: make room before the next run.",
                )
            self._closed = True
            self._drop_connection()

    # -- one transaction each ---------------------------------------------------------------------

    def _append(self, database: sqlite3.Connection, sample: EncodedSample) -> bool:
        if sample.id in self._overflow:
            return False
        with self._transaction(database) as count:
            return self._insert(database, sample, count)

    def _insert(
        self, database: sqlite3.Connection, sample: EncodedSample, count: Counter[str]
    ) -> bool:
        """Within a transaction; whether `sample` is here now, and was not before."""
        num_bytes = len(sample.body)
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
        for sequence, why in broken:
            self._quarantine(database, sequence, why)
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

        with self._lock:
            num_held = self._overflow.forget(ids)
            try:
                return num_held + self._guard(delete)
            except sqlite3.Error as error:
                self._pending.update(dict.fromkeys(ids, refusal))
                self._note_failure(error)
                return num_held

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

    # -- the disk is back -------------------------------------------------------------------------

    def _flush_overflow(self, *, at_once: bool = False) -> None:
        """Put what waits in memory on disk, all or nothing, now and then; the caller locks."""
        now_s = self._monotonic_s()
        if not self._overflow or (now_s < self._flush_s and not at_once):
            return
        self._flush_s = now_s + AGAIN_S
        held = self._overflow.samples()

        def store(database: sqlite3.Connection) -> None:
            with self._transaction(database) as count:
                for sample in held:
                    self._insert(database, sample, count)

        try:
            self._guard(store)
        except sqlite3.Error as error:
            self._note_failure(error)
            return
        self._overflow.forget([sample.id for sample in held])
        _log.info("spool.on_disk_again", path=str(self._path), num_samples=len(held))

    # -- the file ---------------------------------------------------------------------------------

    def _guard(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run `work` alone; a damaged file is set aside and `work` done once more on a new one."""
        with self._lock:
            try:
                return work(self._connect())
            except sqlite3.Error as error:
                if self._closed or not is_broken(error):
                    raise
                self._begin_anew(error)
                return work(self._connect())

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("the spool is closed")
        if self._database is not None and was_removed(self._path, self._inode):
            self._leave_removed_file(self._database)
        if self._database is None:
            # A lock in the way costs seconds each time: not at every sample.
            if self._monotonic_s() < self._open_again_s:
                raise sqlite3.OperationalError("the file could not be opened a moment ago")
            try:
                clear_way(self._path)
                self._database = schema.open_database(self._path, durable=self._durable)
                self._inode = self._path.stat().st_ino
            except OSError as error:
                self._open_again_s = self._monotonic_s() + AGAIN_S
                raise sqlite3.OperationalError(error_text(error)) from error
            except sqlite3.Error as error:
                if not is_broken(error):
                    self._open_again_s = self._monotonic_s() + AGAIN_S
                raise
        return self._database

    def _leave_removed_file(self, database: sqlite3.Connection) -> None:
        """Take the samples out of a file that has no name any more; they go to a new one."""
        num = 0
        with suppress(sqlite3.Error):
            for _, sample in self._peek(database, 1 << 62, self._max_samples, 0):
                num += self._overflow.append(sample)
        self._drop_connection()
        self._flush_s = -math.inf
        _log.error(
            "spool.file_removed",
            path=str(self._path),
            num_samples=num,
            fix="Nothing to do: the samples that waited go to a new file. Stop the device before "
            "you remove files of its state.",
        )

    def _look_at_the_file(self) -> None:
        """Say so where the file was emptied: SQLite takes it for a new one, without a word."""
        if self._path.is_file() and self._path.stat().st_size == 0:
            _log.error(
                "spool.emptied",
                path=str(self._path),
                fix="The file had no bytes: samples that waited in it are lost. Check the disk.",
            )

    def _begin_anew(self, error: sqlite3.Error) -> None:
        self._drop_connection()
        aside = set_aside(self._path)
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
            fix="Make room on the disk, or let the device's user write there: answers go on, and "
            "samples wait in memory until then.",
        )
