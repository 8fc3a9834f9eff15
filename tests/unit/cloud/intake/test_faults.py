"""What a disk or a database that is full, read-only, locked or away is called, and what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import fix_of, is_passing, trouble_of
from driftline_shared.errors import DriftlineError


@pytest.mark.parametrize(
    ("code", "said", "fix"),
    [
        (errno.ENOSPC, "no space left on /data/x", "Free space"),
        (errno.EDQUOT, "no space left on /data/x (quota)", ""),
        (errno.EROFS, "/data/x is read-only", "remount"),
        (errno.EACCES, "no permission to write /data/x", "user write"),
    ],
)
def test_an_error_of_a_disk_names_its_place(code: int, said: str, fix: str) -> None:
    error = OSError(code, os.strerror(code), "/data/x")
    wrapped = DriftlineError("the release was not written")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        assert is_passing(one)
        assert trouble_of(one, "/elsewhere") == said
        assert fix in fix_of(one)
    assert trouble_of(OSError(code, os.strerror(code)), "/data/x") == said


def test_a_database_that_is_full_or_locked_or_read_only_says_so(tmp_path: Path) -> None:
    file = tmp_path / "cloud.sqlite"
    database = Database(f"sqlite:///{file}")
    with sqlite3.connect(file) as pages:
        (num_pages,) = pages.execute("PRAGMA page_count").fetchone()
    pages.close()

    def fails(statement: str, *pragmas: str) -> SQLAlchemyError:
        with pytest.raises(SQLAlchemyError) as caught, database.write() as connection:
            for pragma in pragmas:
                connection.exec_driver_sql(pragma)
            connection.exec_driver_sql(statement)
        return caught.value

    big = "INSERT INTO samples (id, device_id, line, token_space, state, received_unix_s, "
    big += "num_bytes, body) VALUES (x'00', 'd', 'l', 't', 'waiting', 0, 0, zeroblob(1000000))"
    full = fails(big, f"PRAGMA max_page_count={num_pages}")
    assert is_passing(full)
    assert trouble_of(full, database.place) == f"no space left on {file}"
    wrong = fails("INSERT INTO policies (line) VALUES ('l')")
    assert isinstance(wrong, IntegrityError)
    assert not is_passing(wrong)
    read_only = fails("DELETE FROM samples", "PRAGMA query_only=ON")
    assert trouble_of(read_only, database.place) == f"{file} is read-only"
    database.close()


def test_a_server_that_is_away_says_so() -> None:
    gone = OperationalError("SELECT 1", {}, ConnectionError("connection refused"))
    assert is_passing(gone)
    assert trouble_of(gone, "the database at db.example") == "the database at db.example is away"
    assert "Start the database server" in fix_of(gone)
    assert not is_passing(ValueError("a fault of ours"))
    assert trouble_of(ValueError("a fault of ours"), "x") == "ValueError: a fault of ours"
