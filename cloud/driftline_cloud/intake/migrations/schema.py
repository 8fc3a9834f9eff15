"""The schema of a database: made whole where there is none, upgraded where it is older.

`schema_version.version` is what every driftline looks at, 0.1.0 too: a newer one is refused. Beside
it `alembic_version` holds the same as alembic's revision. Making and upgrading are one transaction
each, and two programs that start at once take turns.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import structlog
from sqlalchemy import Connection, func, insert, inspect, select, update

from driftline_cloud.intake import tables
from driftline_shared.errors import ConfigError

_TURN = 0x6472_6966
"""Key of the advisory lock under which PostgreSQL's schema changes; SQLite has one writer."""

_log = structlog.get_logger(__name__)


def version_of(connection: Connection) -> int:
    """The schema's version; 0: there is none yet. ConfigError for one that is newer than ours."""
    if not inspect(connection).has_table(tables.schema.name):
        return 0
    found = int(connection.scalar(select(func.max(tables.schema.c.version))) or 0)
    if found > tables.SCHEMA_VERSION:
        raise ConfigError(
            f"the database has schema {found}, this driftline knows {tables.SCHEMA_VERSION}",
            fix="Install the newer version that wrote it, or name another database.",
        )
    return found


def bring_up(connection: Connection) -> int:
    """Make or upgrade the schema inside the transaction of `connection`; the version it had."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_TURN)))
    before = version_of(connection)
    if before == 0:
        _make(connection)
    elif before < tables.SCHEMA_VERSION:
        _upgrade(connection, before)
        _log.info("database.upgraded", before=before, now=tables.SCHEMA_VERSION)
    return before


def _make(connection: Connection) -> None:
    tables.metadata.create_all(connection)
    tables.revision_metadata.create_all(connection)
    connection.execute(insert(tables.revisions).values(version_num=_revision()))
    connection.execute(
        insert(tables.schema).values(version=tables.SCHEMA_VERSION, cloud_id=uuid.uuid4().hex)
    )


def _upgrade(connection: Connection, before: int) -> None:
    # Here, not above: a start with nothing to upgrade need not wait for the import.
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(__file__).parent))
    context = MigrationContext.configure(connection)
    if not inspect(connection).has_table(tables.revisions.name):
        tables.revision_metadata.create_all(connection)
        connection.execute(insert(tables.revisions).values(version_num=f"{before:04d}"))
    present = context.get_current_revision()
    steps = list(scripts.iterate_revisions("head", present))
    with Operations.context(context):
        for step in reversed(steps):
            step.module.upgrade()
    connection.execute(update(tables.revisions).values(version_num=_revision()))
    connection.execute(update(tables.schema).values(version=tables.SCHEMA_VERSION))


def _revision() -> str:
    return f"{tables.SCHEMA_VERSION:04d}"
