"""All checks of the doctor of a cloud, in the order they are shown. They only look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from driftline_cloud.config import CloudConfig
from driftline_cloud.doctor.machine import (
    check_disk,
    check_pair,
    check_port,
    check_ray,
    check_state,
    check_store,
)
from driftline_cloud.doctor.records import Records
from driftline_cloud.doctor.trust import check_authority, check_signing
from driftline_cloud.identity import why_not_ours
from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import cause_of, fix_of
from driftline_cloud.intake.migrations import schema
from driftline_cloud.serving import why_not_served
from driftline_cloud.state import StateFolder
from driftline_shared.errors import DriftlineError
from driftline_shared.program.address import without_password
from driftline_shared.program.checks import Check, fail, ok, warn

_AS_ITS_USER = "Run doctor as the user of the cloud."


def examine(config: CloudConfig) -> list[Check]:
    """Every check of the cloud that `config` describes."""
    checks = [
        ok("configuration", f"reads; database {without_password(config.database)}"),
        *(
            _guarded(name, check)
            for name, check in (
                ("state folder", lambda: check_state(config)),
                ("disk", lambda: check_disk(config.state)),
                ("artifacts", lambda: check_store(config)),
                ("pair", lambda: check_pair(config.pair, config.pair_key)),
                ("authority", lambda: check_authority(config)),
                ("signing", lambda: check_signing(config)),
                ("port", lambda: check_port(config)),
                ("workers", lambda: check_ray(config)),
            )
        ),
    ]
    found = _guarded("database", lambda: check_database(config))
    checks.append(found)
    if found.verdict == "ok":
        checks += _of_database(config)
    return checks


def check_database(config: CloudConfig) -> Check:
    """Whether the database answers, and has this version's schema: doctor upgrades none."""
    url = make_url(config.database)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        fix = "The first `driftline cloud serve` makes it."
        return warn("database", f"{url.database} is not there", fix)
    try:
        engine = create_engine(config.database)
        try:
            with engine.connect() as connection:
                version = schema.version_of(connection)
        finally:
            engine.dispose()
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        return fail("database", cause_of(error), fix_of(error))
    except DriftlineError as error:
        return fail("database", str(error), error.fix)
    if version < tables.SCHEMA_VERSION:
        found = f"it has schema {version}, this driftline {tables.SCHEMA_VERSION}"
        fix = "`driftline cloud database upgrade`, or the next start, brings it up."
        return warn("database", found, fix)
    return ok("database", f"answers, schema {version}")


def _of_database(config: CloudConfig) -> list[Check]:
    database = Database(config.database, read_only=True)
    try:
        state, records = (
            StateFolder(config.state),
            Records(database=database, lease_s=config.work.lease_s),
        )
        checks = (
            ("identity", lambda: check_identity(database, state, config.work.lease_s)),
            *records.checks(),
        )
        return [_guarded(name, check) for name, check in checks]
    finally:
        database.close()


def check_identity(database: Database, state: StateFolder, lease_s: float) -> Check:
    """Whether folder and database belong together, and the folder is no copy of the one served."""
    reason = why_not_ours(database, state)
    if reason:
        return fail("identity", reason, "Name a folder and a database that belong together.")
    if reason := why_not_served(database, state, lease_s=lease_s):
        return warn("identity", reason, "Name the folder that serves.")
    return ok("identity", "folder and database belong together")


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """What makes one check stumble must not keep the others from being made."""
    try:
        return check()
    except OSError as error:
        return warn(name, f"cannot be checked: {error}", _AS_ITS_USER)
    except SQLAlchemyError as error:
        return fail(name, cause_of(error), fix_of(error))
