"""Opening the cloud's SQL state: SQLite by default, any URL; safe from several threads.

SQLite runs in WAL mode with full sync: what was acknowledged to a device survives a power cut,
because the device forgets a sample once it is acknowledged.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.pool import StaticPool

from driftline_cloud.intake import tables
from driftline_cloud.intake.faults import fix_of
from driftline_cloud.intake.migrations import schema
from driftline_shared.errors import ConfigError
from driftline_shared.program.address import without_password

BUSY_TIMEOUT_MS = 10_000
"""How long a writer waits for another one before the store counts as busy."""


class Database:
    """Reads see one consistent moment; a write is one transaction, all or nothing."""

    def __init__(self, url: str, *, durable: bool = True, read_only: bool = False) -> None:
        """`durable`: what was written survives a power cut; without it SQLite need not wait for
        the disk, which suits a replay. `read_only`: nothing can be written, and an older schema is
        refused. Raises ConfigError.
        """
        parsed = _parse(url)
        self._read_only = read_only
        self._engine = _engine(parsed, durable=durable, read_only=read_only)
        self.place = _place(parsed)
        # One connection holds an in-memory database: only one thread may use it at a time.
        self._lock = threading.RLock() if _in_memory(parsed) else None
        try:
            self.cloud_id = self._open_schema()
        except DatabaseError as error:
            self.close()
            raise ConfigError(
                f"database {parsed.render_as_string()} cannot be used: {error.orig}",
                fix=fix_of(error),
            ) from error
        except ConfigError:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read from."""
        with self._lock or nullcontext(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back on any error."""
        with self._lock or nullcontext(), self._engine.connect() as connection:
            connection = connection.execution_options(driftline_write=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()

    def _open_schema(self) -> str:
        """Make or upgrade the schema, refuse a newer one; the id of this cloud."""
        with self.read() as connection:
            version = schema.version_of(connection)
        if version != tables.SCHEMA_VERSION:
            if self._read_only:
                raise ConfigError(
                    f"the database has schema {version}, this driftline reads "
                    f"{tables.SCHEMA_VERSION}",
                    fix="Start the cloud of this version once: it brings its database up.",
                )
            with self.write() as connection:
                schema.bring_up(connection)
        with self.read() as connection:
            return str(connection.execute(select(tables.schema.c.cloud_id)).scalar_one())


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        shown = without_password(url)
        raise ConfigError(
            f"database_url {shown!r} is not an SQL URL",
            fix="Write it so: postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, or leave it out.",
        ) from error


def _place(url: URL) -> str:
    """Where the database is, for people."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return f"the database at {url.host or 'localhost'}"


def _in_memory(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def _engine(url: URL, *, durable: bool, read_only: bool) -> Engine:
    options: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}
        if _in_memory(url):
            options["poolclass"] = StaticPool
    try:
        engine = create_engine(url, **options)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"no driver for {url.drivername}: {error}",
            fix="For PostgreSQL: pip install 'driftline[postgres]', and postgresql+psycopg:// at "
            "the beginning; others are not tried.",
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(
            engine, "connect", partial(_configure_sqlite, durable=durable, read_only=read_only)
        )
        event.listen(engine, "begin", _begin_sqlite)
    elif read_only:
        engine = engine.execution_options(postgresql_readonly=True)
    return engine


def _configure_sqlite(connection: Any, _record: object, *, durable: bool, read_only: bool) -> None:
    connection.isolation_level = None  # transactions are opened by _begin_sqlite alone
    cursor = connection.cursor()
    if read_only:
        cursor.execute("PRAGMA query_only=ON")
    else:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A reader that turns writer half way fails at once when another writes: take the lock first.
    writes = connection.get_execution_options().get("driftline_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
