"""A database with a log is read where nothing can be written, with all that was committed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from driftline_shared.host import database_reading
from driftline_shared.host.database_reading import log_of, reading

ON_A_READ_ONLY_DISK = """
mount -t tmpfs -o size=1m tmpfs {place} && cp {made}/* {place} && mount -o remount,ro {place} &&
exec {python} -c "
from pathlib import Path
from driftline_shared.host.database_reading import reading
with reading(Path('{place}/a.sqlite')) as database:
    print(database.execute('SELECT x FROM t').fetchall())
"
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """What a kill left: a row in the file, another in its log."""
    made = tmp_path / "made"
    made.mkdir()
    database = sqlite3.connect(made / "a.sqlite", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("CREATE TABLE t (x)")
    database.execute("INSERT INTO t VALUES (1)")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("INSERT INTO t VALUES (2)")
    left = tmp_path / "left"
    left.mkdir()
    for name in ("a.sqlite", "a.sqlite-wal"):
        shutil.copy(made / name, left / name)
    database.close()
    return left / "a.sqlite"


def test_all_that_was_committed_on_a_real_read_only_disk(killed: Path, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    script = ON_A_READ_ONLY_DISK.format(place=place, made=killed.parent, python=sys.executable)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if "not permitted" in done.stderr or "denied" in done.stderr:
        pytest.skip("no mounts here")
    assert done.stdout == "[(1,), (2,)]\n", done.stderr


def no_files_of_its_own(path: Path) -> sqlite3.Connection:
    """As SQLite fails on a disk that takes nothing."""
    return sqlite3.connect(f"{path.parent.as_uri()}/none/x?mode=ro", uri=True)


def test_a_log_is_read_in_memory(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_reading, "open_read_only", no_files_of_its_own)
    before = sorted(killed.parent.iterdir())
    with reading(killed) as database:
        assert database.execute("SELECT x FROM t").fetchall() == [(1,), (2,)]
    assert sorted(killed.parent.iterdir()) == before


def test_without_room_in_memory_the_file_alone_is_read(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_reading, "open_read_only", no_files_of_its_own)
    monkeypatch.setattr(database_reading, "MAX_COPIED_BYTES", 10)
    with reading(killed) as database:
        assert database.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_nothing_is_written(killed: Path) -> None:
    log_of(killed).unlink()
    with reading(killed) as database, pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.execute("INSERT INTO t VALUES (3)")


def test_what_is_no_database_is_an_error_of_sqlite(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_text("no database, for sure" * 99)
    with pytest.raises(sqlite3.DatabaseError), reading(tmp_path / "a.sqlite"):
        pass
