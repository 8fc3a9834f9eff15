"""One database, one state folder: whose releases belong to whose rounds.

    <state>/identity.json    state_id, cloud_id     written once, durably, before the database's
    schema_version.state_id                         the same, in the database

Two clouds on one database with a folder each would both drive its rounds and split its versions;
so would a database that was restored beside a folder of another day. The first is refused by its
id, the second by what the folder's newest version and the database say of each other.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from sqlalchemy import select, update

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rollout.rollout import number_id, restore_id
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import RoundState
from driftline_cloud.state import StateFolder
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import read_json, write_json
from driftline_shared.host.lock import take_turn

FILE = "identity.json"

_FIX = (
    "Point --state and --database-url to a pair that belongs together; `driftline cloud restore` "
    "brings both back from one backup."
)


def bind(database: Database, state: StateFolder) -> None:
    """Tie folder and database together at their first use; ConfigError if they are not a pair."""
    with take_turn(state.path / "identity.lock"):
        own = _bind(database, state)
    if reason := _mismatch(own, _known(database), state):
        raise ConfigError(reason, fix=_FIX)


def why_not_ours(database: Database, state: StateFolder) -> str:
    """Why `bind` would refuse the two; empty: it would not. Changes nothing."""
    known = _known(database)
    return "" if known is None else _mismatch(_read(state.path), known, state)


def _mismatch(own: str | None, known: str | None, state: StateFolder) -> str:
    if own == known:
        return ""
    what = "has no identity" if own is None else f"has identity {own[:12]}"
    return (
        f"the database belongs to another state folder: its identity is {str(known)[:12]}, "
        f"{state.path} {what}"
    )


def _bind(database: Database, state: StateFolder) -> str | None:
    """The identity of the folder, which the database is given if it has none."""
    own = _read(state.path)
    if _known(database) is None:
        own = own or _write(state.path, uuid.uuid4().hex, database.cloud_id)
        table = tables.schema
        with database.write() as connection:
            # Another cloud may be doing the same with a folder of its own: one of them is first.
            connection.execute(update(table).where(table.c.state_id.is_(None)).values(state_id=own))
    return own


def check_versions(registry: ReleaseRegistry, database: Database, line: str) -> None:
    """ConfigError where folder and database tell of other versions: one of them is of another day,
    or of another cloud. StoreAwayError where the far store is needed to tell.
    """
    ledger = RoundLedger(database)
    # What releases meanwhile writes the folder first, then the version's row, then the round's end:
    # read in the same order, none of these moments looks like another day.
    in_folder = registry.newest_version(line)
    running, stopped = ledger.open_round(line), RolloutStore(database).owing(line)
    kept = ledger.versions(line)
    in_database = max([ledger.newest_done(line), *kept])
    if in_folder < in_database:
        registry.catch_up()  # the far store may have what this disk never saw
        in_folder = registry.newest_version(line)
    if in_folder < in_database:
        raise ConfigError(
            f"the state folder is older than the database: it stops at version {in_folder} of line "
            f"{line}, the database knows version {in_database}",
            fix=_FIX,
        )
    if in_folder > in_database:
        manifest = registry.manifest(line, in_folder)
        # A kill between the manifest and the round's end: the round goes on and finds it.
        is_ours = (
            running is not None
            and running.state is RoundState.RELEASING
            and in_folder == in_database + 1
            and manifest.round_id == running.id
        )
        # The same between the manifest of a version that is released again and its row.
        is_ours |= stopped is not None and (
            manifest.round_id == restore_id(line, stopped.version)
            and in_folder <= max(in_database, stopped.version) + 2
        )
        # The same again, where devices joined the line that may hold as high a number.
        is_ours |= manifest.round_id == number_id(line, in_folder) and in_folder == in_database + 1
        if not is_ours:
            raise ConfigError(
                f"the database is older than the state folder: it knows version {in_database} of "
                f"line {line}, the folder holds version {in_folder}",
                fix=_FIX,
            )
    for version, (round_id, digest) in list(kept.items())[-1:]:
        manifest = registry.manifest(line, version)
        if (manifest.round_id, manifest.target_digest.hex()) != (round_id, digest):
            raise ConfigError(
                f"version {version} of line {line} in the state folder is of another cloud",
                fix=_FIX,
            )


def adopt(database: Database, state: StateFolder) -> None:
    """Make `state` the folder of the database from now on, whatever was before."""
    own = _write(state.path, uuid.uuid4().hex, database.cloud_id)
    with database.write() as connection:
        connection.execute(update(tables.schema).values(state_id=own))


def _known(database: Database) -> str | None:
    with database.read() as connection:
        return connection.execute(select(tables.schema.c.state_id)).scalar()


def _read(folder: Path) -> str | None:
    try:
        found = read_json(folder / FILE)
    except ValueError as error:
        raise ConfigError(f"state folder {folder}: {error}", fix=_FIX) from error
    return None if found is None else str(found.get("state_id", ""))


def _write(folder: Path, state_id: str, cloud_id: str) -> str:
    write_json(folder / FILE, {"state_id": state_id, "cloud_id": cloud_id}, sealed=True)
    return state_id
