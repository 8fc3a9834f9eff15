"""A table that came after the first files of a layout, in files of before and after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from driftline_shared.host.database import DatabaseFile, Layout


def test_a_table_that_came_later_reads_as_empty_and_is_made_by_who_writes(tmp_path: Path) -> None:
    old = Layout(
        what="notes",
        application_id=1,
        version=1,
        tables="CREATE TABLE notes (x)",
        names=frozenset({"notes"}),
    )
    path = tmp_path / "notes.sqlite"
    before = DatabaseFile(path, old)
    before.run(lambda database: database.execute("INSERT INTO notes VALUES (1)"))
    before.close()
    new = DatabaseFile(path, replace(old, later={"more": "y INTEGER"}))
    count = "SELECT (SELECT COUNT(*) FROM notes), (SELECT COUNT(*) FROM more)"
    assert new.read(lambda database: database.execute(count).fetchone()) == (1, 0)
    new.run(lambda database: database.execute("INSERT INTO more VALUES (2)"))
    new.close()
    again = DatabaseFile(path, replace(old, later={"more": "y INTEGER"}))
    assert again.read(lambda database: database.execute(count).fetchone()) == (1, 1)
    again.close()
    assert DatabaseFile(path, old).read(
        lambda found: found.execute("SELECT x FROM notes").fetchone()
    )
