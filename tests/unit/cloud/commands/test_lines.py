"""Which line a command is about, and what it says where the database cannot be written."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import OperationalError

from driftline_cloud.commands.lines import named_line
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_shared.errors import DataError


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Of a cloud with two lines of pairs p and q, and a third that was dropped."""
    found = Database(f"sqlite:///{tmp_path / 'cloud.sqlite'}")
    with found.write() as connection:
        for name, pair, state in (
            ("p-1", "p", "active"),
            ("q-1", "q", "dropped"),
            ("q-2", "q", "dropped"),
        ):
            row = {"id": name, "pair": pair, "pair_name": pair, "base_model": name, "state": state}
            times = {"added_unix_s": 0, "changed_unix_s": 0, "token_space": "t"}
            connection.execute(insert(tables.lines).values(row | times))
    return found


def test_a_line_is_named_by_its_id_by_its_pair_or_by_being_the_only_one_served(
    database: Database,
) -> None:
    assert named_line(database, "q-2") == "q-2"
    assert named_line(database, "p") == "p-1"
    assert named_line(database, "") == "p-1", "dropped ones are no choice"


@pytest.mark.parametrize("name", ["nope", "q", "x" * 10_000])
def test_what_names_no_line_or_several_is_refused_with_those_there_are(
    database: Database, name: str
) -> None:
    with pytest.raises(DataError, match="p-1, q-1, q-2") as caught:
        named_line(database, name)
    assert len(str(caught.value)) < 400


def test_of_several_served_lines_one_must_be_named(database: Database) -> None:
    with database.write() as connection:
        connection.execute(update(tables.lines).values(state="active"))
    with pytest.raises(DataError, match="3 lines"):
        named_line(database, "")


def test_a_disk_that_cannot_be_written_is_a_sentence(database: Database, tmp_path: Path) -> None:
    settings = settings_of(None, tmp_path)
    with (
        pytest.raises(DataError, match="is read-only") as caught,
        opened_database(settings),
    ):
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path))
    assert caught.value.fix
    with pytest.raises(RuntimeError, match="a fault of ours"), opened_database(settings):
        raise RuntimeError("a fault of ours")


def test_a_database_that_another_program_holds_is_a_sentence(
    database: Database, tmp_path: Path
) -> None:
    with (
        pytest.raises(DataError, match="is locked by another program"),
        opened_database(settings_of(None, tmp_path)),
    ):
        raise OperationalError(
            "BEGIN IMMEDIATE", {}, sqlite3.OperationalError("database is locked")
        )
