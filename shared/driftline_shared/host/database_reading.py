"""Reading an SQLite file without a write: beside the process that keeps it, and on a disk that
takes nothing (full, read-only, another user's).

SQLite wants to make files of its own beside a database with a log (`-wal`). Where it cannot:

    no log, or an empty one    the file is all there is: read as immutable
    a log                      file and log are copied into memory (/dev/shm), and read there
    that cannot be, either     the file alone, as of the last time the log was folded into it
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

BUSY_TIMEOUT_S = 5.0
MEMORY = Path("/dev/shm")
MAX_COPIED_BYTES = 256 << 20

_log = structlog.get_logger(__name__)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Without a log beside it, the file is all there is and nothing writes: as immutable it is read
    without SQLite making files of its own.
    """
    log = log_of(path)
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    return _connect(path, mode)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, wherever the file lies. Raises sqlite3.Error and OSError."""
    usual = _opened(path)
    if usual is not None:
        with closing(usual):
            yield usual
    elif 0 < _size(log_of(path)) <= MAX_COPIED_BYTES - _size(path) and MEMORY.is_dir():
        with tempfile.TemporaryDirectory(dir=MEMORY, prefix="driftline-") as folder:
            copy = Path(folder) / path.name
            shutil.copyfile(path, copy)
            shutil.copyfile(log_of(path), log_of(copy))
            with closing(sqlite3.connect(copy, isolation_level=None)) as database:
                yield database
    else:
        if _size(log_of(path)):
            _log.warning("database.read_without_log", path=str(path))
        with closing(_connect(path, "mode=ro&immutable=1")) as database:
            yield database


def _opened(path: Path) -> sqlite3.Connection | None:
    """As usual; None where SQLite cannot make what it wants beside the file."""
    database: sqlite3.Connection | None = None
    try:
        database = open_read_only(path)
        database.execute("SELECT COUNT(*) FROM sqlite_master")
        return database
    except sqlite3.Error as error:
        if database is not None:
            database.close()
        if not isinstance(error, sqlite3.OperationalError):
            raise
        return None


def log_of(path: Path) -> Path:
    """The log that SQLite keeps beside a database."""
    return path.with_name(f"{path.name}-wal")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
