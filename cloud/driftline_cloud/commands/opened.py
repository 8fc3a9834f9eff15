"""The cloud's own database, for commands that look at it or change it while a cloud may run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from driftline_shared.errors import ConfigError, DataError

if TYPE_CHECKING:
    from driftline_cloud.config import CloudConfig
    from driftline_cloud.intake.database import Database


def settings_of(
    config: Path | None, state: Path | None, database_url: str | None = None
) -> CloudConfig:
    """What is in force, with the flags that were given; DataError where no cloud was served."""
    from driftline_cloud.config import load_config

    given: Mapping[str, object] = {"state": state, "database_url": database_url}
    settings = load_config(config, {key: one for key, one in given.items() if one is not None})
    if not has_database(settings):
        file = _own_file(settings)
        raise DataError(
            f"{file} is not there: no cloud was served from {settings.state}",
            fix="Name the folder that the cloud was started with, or its --database-url; the first "
            "`driftline cloud serve` makes it.",
        )
    return settings


def has_database(settings: CloudConfig) -> bool:
    """Whether a cloud was served with these settings, as far as their state folder says."""
    return bool(settings.database_url) or _own_file(settings).is_file()


def _own_file(settings: CloudConfig) -> Path:
    return settings.state / "cloud.sqlite"


@contextmanager
def opened_database(settings: CloudConfig) -> Iterator[Database]:
    """The database of `settings`, in this driftline's schema; DataError where it, or the disk below
    it, is full, read-only, locked or away.
    """
    from sqlalchemy.exc import DatabaseError

    from driftline_cloud.intake.database import Database
    from driftline_cloud.intake.faults import fix_of, is_passing, trouble_of

    try:
        database = Database(settings.database)
    except ConfigError as error:
        if not isinstance(error.__cause__, DatabaseError):
            raise
        raise DataError(str(error), fix=error.fix) from error  # the place is right, the file is not
    try:
        yield database
    except Exception as error:
        if not is_passing(error):
            raise
        raise DataError(trouble_of(error, database.place), fix=fix_of(error)) from error
    finally:
        database.close()
