"""Database files: made once, begun anew if broken, whole after a failed transaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from driftline_shared.host.database import (
    DatabaseFile,
    ForeignDatabaseError,
    Layout,
    open_database,
    transaction,
)

NOTES = Layout(
    what="notes",
    application_id=7,
    version=1,
    tables="CREATE TABLE notes (text TEXT NOT NULL)",
    names=frozenset({"notes"}),
)


def _add(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO notes VALUES ('kept')")


def _all(database: sqlite3.Connection) -> list[str]:
    return [row[0] for row in database.execute("SELECT text FROM notes")]


def test_what_was_written_is_there_after_opening_again(tmp_path: Path) -> None:
    first = DatabaseFile(tmp_path / "a" / "notes.sqlite", NOTES)
    first.run(_add)
    first.close()
    second = DatabaseFile(tmp_path / "a" / "notes.sqlite", NOTES)
    assert second.run(_all) == ["kept"]
    second.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        second.run(_all)


@pytest.mark.parametrize("content", [b"no database", bytes(4096), b"SQLite format 3\0" + bytes(99)])
def test_a_broken_file_is_set_aside_and_the_work_done_on_a_new_one(
    tmp_path: Path, content: bytes
) -> None:
    path, told = tmp_path / "notes.sqlite", []
    path.write_bytes(content)
    file = DatabaseFile(path, NOTES, on_set_aside=lambda aside, _error: told.append(aside))
    file.run(_add)
    assert file.run(_all) == ["kept"]
    file.close()
    aside = tmp_path / "notes.sqlite.corrupt"
    assert told in ([aside], [])
    if told:
        assert aside.read_bytes() == content


def test_a_file_of_another_layout_is_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE recipes (text TEXT)")
    other.close()
    with pytest.raises(ForeignDatabaseError, match="notes"):
        open_database(path, NOTES)


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path / "notes.sqlite", NOTES)
    with pytest.raises(ZeroDivisionError), transaction(database):
        _add(database)
        raise ZeroDivisionError
    assert _all(database) == []
    database.close()


def test_a_folder_in_its_place_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    path.mkdir()
    file = DatabaseFile(path, NOTES)
    file.run(_add)
    assert file.run(_all) == ["kept"]
    assert path.with_name("notes.sqlite.broken").is_dir()
    file.close()


def test_a_place_that_cannot_be_is_an_error_that_does_not_last(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    file = DatabaseFile(tmp_path / "state" / "notes.sqlite", NOTES)
    with pytest.raises((sqlite3.Error, OSError)):
        file.run(_add)
    (tmp_path / "state").unlink()
    file.run(_add)
    assert file.run(_all) == ["kept"]
    file.close()
