"""SQLite files of one layout that survive kills and power cuts: opened, and begun anew if broken.

A broken file is renamed to `<name>.corrupt` (one is kept: a disk that keeps breaking must not fill
up with wrecks) and a new one is started; what does not fit the layout counts as broken.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from driftline_shared.host.database_reading import log_of, reading
from driftline_shared.host.durable import clear_way

BUSY_TIMEOUT_S = 5.0
WAL_LIMIT_BYTES = 4 << 20

_BROKEN_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

Result = TypeVar("Result")


class ForeignDatabaseError(sqlite3.DatabaseError):
    """The file is a database, but its tables are not those of this version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What a file holds. `what`: for people. `tables`: its CREATE statements, split at semicolons.
    `names`: of all its tables and indices. `later`: tables that came after files of this version
    were first written, with their columns; made where they are not there.
    """

    what: str
    application_id: int
    version: int
    tables: str
    names: frozenset[str]
    later: Mapping[str, str] = field(default_factory=dict)


class DatabaseFile:
    """One file of `layout`, opened at its first use, for any thread; one works at a time."""

    def __init__(
        self,
        path: Path,
        layout: Layout,
        *,
        durable: bool = True,
        keeper: bool = True,
        on_set_aside: Callable[[Path, sqlite3.Error], None] = lambda _path, _error: None,
    ) -> None:
        """`durable`: every commit survives a power cut; without, a kill only. `keeper`: whether a
        broken file is set aside; whoever looks beside another process leaves it. `on_set_aside`:
        told where a broken file lies now, and one that was emptied.
        """
        self._keeper = keeper
        self._inode = 0
        self._path = path
        self._layout = layout
        self._durable = durable
        self._on_set_aside = on_set_aside
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._closed = False

    def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `work` returns; once more on a new file where the old one is damaged.

        Raises sqlite3.Error (a full disk, a lock in the way) and OSError.
        """
        with self._lock:
            try:
                return work(self._connect())
            except sqlite3.Error as error:
                self._drop()
                if self._closed or not self._keeper or not is_broken(error):
                    raise
                self._on_set_aside(set_aside(self._path), error)
                return work(self._connect())

    def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `work`, which only reads, returns: also on a disk that takes nothing. A file that is
        not there, or empty, reads as one without rows.

        Raises sqlite3.Error and OSError.
        """
        with self._lock:
            if self._database is not None and self._inode == _inode_of(self._path):
                try:
                    return work(self._database)
                except sqlite3.Error:
                    self._drop()
            if self._keeper:
                clear_way(self._path)
            if not self._path.exists():
                return work(self._empty())
            if not self._path.is_file():
                raise OSError(errno.EINVAL, f"{self._path} is no file")
            if not self._path.stat().st_size:
                return work(self._empty())
            try:
                with reading(self._path) as database:
                    names = _check_layout(database, self._layout)
                    for name, columns in self._layout.later.items():
                        if name not in names:  # nothing is written to the file: it reads as empty
                            database.execute(f"CREATE TEMP TABLE {name} ({columns})")
                    return work(database)
            except sqlite3.Error as error:
                if self._closed or not self._keeper or not is_broken(error):
                    raise
            return self.run(work)

    def stamp(self) -> tuple[int, ...]:
        """Changes with every commit, of any process; cheap. () where the file is not there."""
        found: list[int] = []
        for path in (self._path, log_of(self._path)):
            with suppress(OSError):
                seen = path.stat()
                found += [seen.st_ino, seen.st_size, seen.st_mtime_ns]
        return tuple(found)

    def _empty(self) -> sqlite3.Connection:
        database = sqlite3.connect(":memory:", isolation_level=None)
        _ensure_tables(database, self._layout)
        return database

    def close(self) -> None:
        """Release the file; what was committed stays."""
        with self._lock:
            self._closed = True
            self._drop()

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError(f"{self._layout.what} is closed")
        if self._database is not None and self._inode != _inode_of(self._path):
            self._drop()  # somebody moved or removed the file: what is written there is lost
        if self._database is None:
            if self._keeper:
                clear_way(self._path)
                if self._path.is_file() and self._path.stat().st_size == 0:
                    emptied = sqlite3.DatabaseError("the file was empty")
                    self._on_set_aside(set_aside(self._path), emptied)
            self._database = open_database(self._path, self._layout, durable=self._durable)
            self._inode = _inode_of(self._path)
        return self._database

    def _drop(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
            self._database = None


def was_removed(path: Path, inode: int) -> bool:
    """Whether somebody took the file that was opened there away: what is written to it would be
    gone at the end.
    """
    try:
        return path.stat().st_ino != inode
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _inode_of(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def open_database(path: Path, layout: Layout, *, durable: bool = True) -> sqlite3.Connection:
    """A connection for all threads (the caller locks), in autocommit; the file is made if need be.

    Raises sqlite3.DatabaseError if it is broken, OSError if it cannot be made.
    """
    synchronous = "FULL" if durable else "NORMAL"
    ensure = partial(_ensure_tables, layout=layout)
    return connect(path, synchronous=synchronous, ensure_tables=ensure)


def connect(
    path: Path, *, synchronous: str, ensure_tables: Callable[[sqlite3.Connection], None]
) -> sqlite3.Connection:
    """As `open_database`, for tables that are more than a `Layout`: `ensure_tables` makes or checks
    them. `synchronous`: SQLite's word for what a commit waits for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute("PRAGMA auto_vacuum=INCREMENTAL")  # counts only before the first table
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={synchronous}")
        database.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
        ensure_tables(database)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All statements inside, or none of them."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # SQLite rolls back by itself where the disk is full
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
        raise


def is_broken(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged, rather than the disk full or a lock in the way."""
    if isinstance(error, ForeignDatabaseError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in _BROKEN_CODES


def set_aside(path: Path) -> Path:
    """Rename a broken database, with its log, out of the way; its new path."""
    aside = path.with_name(f"{path.name}.corrupt")
    # The log first: a new database must never meet the old one's log.
    for suffix in ("-shm", "-wal", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside


def _ensure_tables(database: sqlite3.Connection, layout: Layout) -> None:
    """All tables in one transaction: a kill leaves none of them or all."""
    with transaction(database):
        version, names = _found_in(database)
        if version == 0 and not names:
            for statement in layout.tables.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id={layout.application_id}")
            database.execute(f"PRAGMA user_version={layout.version}")
        else:
            _check_layout(database, layout)
        for name, columns in layout.later.items():
            database.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")


def _found_in(database: sqlite3.Connection) -> tuple[int, set[str]]:
    """(version, names of tables and indices)."""
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    return version, {row[0] for row in database.execute("SELECT name FROM sqlite_master")}


def _check_layout(database: sqlite3.Connection, layout: Layout) -> set[str]:
    """The names of the file's tables and indices; ForeignDatabaseError if it is not of `layout`."""
    version, names = _found_in(database)
    if version != layout.version or not layout.names <= names:
        raise ForeignDatabaseError(f"no {layout.what} of version {layout.version}")
    return names
