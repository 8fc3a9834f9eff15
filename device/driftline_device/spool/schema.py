"""The spool's database file: its tables, and the statements on them.

Layout of one file (plus SQLite's `-wal` and `-shm` beside it):

    samples     seq (never used twice), id, priority, bytes, body (the wire message, serialized)
    quarantine  rows whose body does not decode, the newest few, for a person to look at
    counts      how many samples and bytes there are and what became of the others
    refused     reasons of refusals, counted

Every change of `samples` changes `counts` in the same transaction, so opening reads a few rows and
never scans. How a file is opened and a broken one set aside: `driftline_shared.host.database`.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from driftline_device.spool.spool import SpoolStats
from driftline_shared.host.database import ForeignDatabaseError, connect, transaction

APPLICATION_ID = 0x44524C53  # "DRLS"
SCHEMA_VERSION = 1
MAX_QUARANTINED = 100
MAX_REASONS = 64
COUNTS = ("samples", "bytes", "appended", "acked", "refused", "evicted", "quarantined")

_TABLES = """
CREATE TABLE samples (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  priority REAL NOT NULL,
  bytes INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX samples_by_priority ON samples (priority, seq, bytes);
CREATE TABLE quarantine (
  seq INTEGER PRIMARY KEY, id BLOB NOT NULL, error TEXT NOT NULL, body BLOB NOT NULL
);
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE refused (reason TEXT PRIMARY KEY, num INTEGER NOT NULL) WITHOUT ROWID;
"""


def open_database(path: Path, *, durable: bool = True) -> sqlite3.Connection:
    """A connection for all threads (the caller locks); `sqlite3.DatabaseError` if it is broken.

    WAL lets a status command read while the daemon writes. synchronous=FULL syncs the log at every
    commit: NORMAL would survive a kill, but lose the last appends to a power cut, and an
    append is promised to be durable. What a sync costs is far below what one sample costs to score.
    """
    return connect(path, synchronous="FULL" if durable else "OFF", ensure_tables=_ensure_tables)


def _ensure_tables(database: sqlite3.Connection) -> None:
    """All tables in one transaction: a kill leaves none of them or all."""
    with transaction(database):
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if version == 0:
            for statement in _TABLES.split(";"):
                database.execute(statement)
            database.executemany("INSERT INTO counts VALUES (?, 0)", [(name,) for name in COUNTS])
            database.execute(f"PRAGMA application_id={APPLICATION_ID}")
            database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION or not _has_tables(database):
            raise ForeignDatabaseError(f"not a spool of schema version {SCHEMA_VERSION}")


def _has_tables(database: sqlite3.Connection) -> bool:
    """Reads the few rows of `counts` and the names of the tables, nothing more."""
    names = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    needed = {"samples", "samples_by_priority", "quarantine", "counts", "refused"}
    return needed <= names and set(read_counts(database)) == set(COUNTS)


def read_counts(database: sqlite3.Connection) -> dict[str, int]:
    """The kept counts by name."""
    return dict(database.execute("SELECT name, value FROM counts"))


# -- statements ----------------------------------------------------------------------------------

LEAST_INFORMATIVE = "SELECT seq, bytes FROM samples ORDER BY priority, seq LIMIT 1"
BY_ID = "SELECT seq, priority, body FROM samples WHERE id = ?"
IN_ORDER = "SELECT seq, id, priority, body FROM samples WHERE seq > ? ORDER BY seq"


def add_counts(database: sqlite3.Connection, count: Counter[str]) -> None:
    """Add what one transaction changed."""
    database.executemany(
        "UPDATE counts SET value = value + ? WHERE name = ?",
        [(change, name) for name, change in count.items() if change],
    )


def delete(
    database: sqlite3.Connection, ids: Sequence[bytes], refusal: str, count: Counter[str]
) -> int:
    """Delete rows by id, noting them in `count` as acked, or as refused for `refusal`."""
    num = num_bytes = 0
    for sample_id in ids:
        statement = "DELETE FROM samples WHERE id = ? RETURNING bytes"
        row = database.execute(statement, (sample_id,)).fetchone()
        if row is not None:
            num += 1
            num_bytes += row[0]
    count.update({"samples": -num, "bytes": -num_bytes, "refused" if refusal else "acked": num})
    if refusal and num:
        _count_refusals(database, refusal, num)
    return num


def _count_refusals(database: sqlite3.Connection, refusal: str, num: int) -> None:
    """Reasons come from outside: past a bound on how many are kept apart, they are `other`."""
    known = {row[0] for row in database.execute("SELECT reason FROM refused")}
    reason = refusal if refusal in known or len(known) < MAX_REASONS else "other"
    database.execute(
        "INSERT INTO refused VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET num = num + ?",
        (reason, num, num),
    )


def quarantine(
    database: sqlite3.Connection, sequence: int, error: str, count: Counter[str]
) -> None:
    """Move a row from `samples` to `quarantine`, of which the newest are kept."""
    database.execute(
        "INSERT OR REPLACE INTO quarantine SELECT seq, id, ?, body FROM samples WHERE seq = ?",
        (error, sequence),
    )
    database.execute(
        "DELETE FROM quarantine WHERE seq NOT IN"
        " (SELECT seq FROM quarantine ORDER BY seq DESC LIMIT ?)",
        (MAX_QUARANTINED,),
    )
    row = database.execute(
        "DELETE FROM samples WHERE seq = ? RETURNING bytes", (sequence,)
    ).fetchone()
    if row is not None:
        count.update({"samples": -1, "bytes": -row[0], "quarantined": 1})


def give_back_pages(database: sqlite3.Connection, max_pages: int) -> None:
    """Return free pages at the end of the file to the disk, once there are enough to matter."""
    if int(database.execute("PRAGMA freelist_count").fetchone()[0]) >= max_pages:
        # Each step of this statement frees one page, and `execute` takes only the first.
        database.executescript(f"PRAGMA incremental_vacuum({int(max_pages)})")


def read_stats(database: sqlite3.Connection, *, num_failed: int) -> SpoolStats:
    """What `counts` and `refused` say."""
    counts = read_counts(database)
    return SpoolStats(
        num_samples=counts["samples"],
        num_bytes=counts["bytes"],
        num_appended=counts["appended"],
        num_acked=counts["acked"],
        num_refused=counts["refused"],
        num_evicted=counts["evicted"],
        num_quarantined=counts["quarantined"],
        num_failed=num_failed,
        refused_by_reason=dict(database.execute("SELECT reason, num FROM refused")),
    )


def no_stats(*, num_failed: int) -> SpoolStats:
    """What is known of a spool that cannot be read just now."""
    return SpoolStats(
        num_samples=0,
        num_bytes=0,
        num_appended=0,
        num_acked=0,
        num_refused=0,
        num_evicted=0,
        num_failed=num_failed,
    )
