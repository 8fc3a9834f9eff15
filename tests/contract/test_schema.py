"""The schema: a database of 0.1.0 becomes what a new one is, in one transaction or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, select, text

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.migrations import schema
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_shared.errors import ConfigError
from tests.fakes.postgres import running_postgres

GOLDEN = Path(__file__).parent / "golden"
LINE = "bare-0123"
ROUNDS = """
INSERT INTO rounds (id, line, open_line, number, seed, state, num_samples, base_version,
  target_version, numbers, reason, num_starts, num_errors, created_unix_s, changed_unix_s,
  not_before_unix_s) VALUES
 ('r1', 'bare-0123', NULL, 1, 1, 'rejected', 2, 0, 1, '{}', 'no gain', 1, 0, 1, 1, 0.0),
 ('r2', 'bare-0123', 'bare-0123', 2, 1, 'labelling', 2, 0, 1, '{}', '40 samples', 1, 0, 1, 1, 0.0);
"""


@pytest.fixture
def released(tmp_path: Path) -> str:
    """The URL of a database as 0.1.0 left it, with two samples and two rounds."""
    path = tmp_path / "cloud.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript((GOLDEN / "cloud_1.sql").read_text() + ROUNDS)
    old.close()
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


def _check_newest(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []
        assert schema.version_of(connection) == tables.SCHEMA_VERSION
        revision = connection.execute(select(tables.revisions.c.version_num)).scalars().all()
    assert revision == [f"{tables.SCHEMA_VERSION:04d}"]


def test_the_newest_revision_is_the_schemas_version() -> None:
    scripts = ScriptDirectory(str(Path(schema.__file__).parent))
    assert scripts.get_heads() == [f"{tables.SCHEMA_VERSION:04d}"]


def test_a_new_database_is_at_the_newest_revision(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    _check_newest(database)
    database.close()


def test_a_database_of_0_1_0_becomes_what_a_new_one_is(released: str) -> None:
    database = Database(released)
    _check_newest(database)
    assert SampleStore(database).counts(LINE).num_samples == 2
    ended, running = (RoundLedger(database).get(one) for one in ("r1", "r2"))
    assert (ended.trigger, ended.reason) == ("", "no gain")
    assert (running.trigger, running.reason) == ("40 samples", "40 samples")
    cloud_id = database.cloud_id
    database.close()
    again = Database(released)
    assert again.cloud_id == cloud_id
    again.close()


def test_an_upgrade_that_breaks_off_leaves_the_database_as_it_was(
    released: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise RuntimeError("broken off")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="broken off"):
        patch.setattr(schema, "_revision", fail)
        Database(released)
    engine = create_engine(released)
    names = inspect(engine).get_table_names()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version FROM schema_version")).scalar() == 1
    engine.dispose()
    assert "leases" not in names
    database = Database(released)
    _check_newest(database)
    database.close()


def test_on_postgresql_too(postgres: str) -> None:
    engine = create_engine(postgres)
    with engine.begin() as connection:
        connection.execute(text((GOLDEN / "cloud_1.postgresql.sql").read_text()))
        connection.execute(text(ROUNDS))
        connection.execute(text("INSERT INTO schema_version VALUES (1, 'c1')"))
    engine.dispose()
    database = Database(postgres)
    _check_newest(database)
    assert database.cloud_id == "c1"
    assert RoundLedger(database).get("r2").trigger == "40 samples"
    with database.write() as connection:
        connection.execute(text("UPDATE schema_version SET version = 999"))
    database.close()
    with pytest.raises(ConfigError, match="this driftline knows"):
        Database(postgres)
