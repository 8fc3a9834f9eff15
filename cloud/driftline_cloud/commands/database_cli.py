"""`driftline cloud backup`, `restore` and `database`: what a cloud keeps, copied and looked at."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from driftline_cloud.commands.addresses import ConfigFlag, JsonFlag, StateFlag, UrlFlag
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_shared.errors import DataError, DriftlineError

app = typer.Typer(
    help="Look at a cloud's database, upgrade it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

backup_app = typer.Typer()
"""`backup` and `restore`, beside the other commands of a cloud."""

_BACKUP_EXAMPLES = """
**Examples**

    driftline cloud backup /var/backups/driftline/monday

    driftline cloud backup --state /var/lib/driftline /var/backups/driftline/monday --json

The cloud may run meanwhile. The copy is checked before the command ends. A database that is not
SQLite is backed up by its own means. Exit code 1: a folder is wrong, or the copy is not whole.
"""

_RESTORE_EXAMPLES = """
**Examples**

    driftline cloud restore /var/backups/driftline/monday --state /var/lib/driftline

    driftline cloud restore DIR --state /var/lib/driftline --json

Exit code 1: that is no backup or not a whole one, or there is a cloud in the state folder.
"""

_EXAMPLES = """
**Examples**

    driftline cloud database {word} --state /var/lib/driftline

    driftline cloud database {word} --state /var/lib/driftline --json

Exit code 1: there is no database, or it is not whole.
"""

_ADOPT_EXAMPLES = """
**Example**

    driftline cloud database adopt --state /mnt/new

Exit code 1: there is no database, or a cloud serves it.
"""


@backup_app.command(epilog=_BACKUP_EXAMPLES)
def backup(
    folder: Annotated[Path, typer.Argument(help="Where to; a new folder.", metavar="DIR")],
    state: StateFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Copy database and releases of a cloud, which may run meanwhile, and check the copy."""
    from driftline_cloud.backup.backup import make_backup
    from driftline_cloud.intake.faults import fix_of, is_passing, trouble_of
    from driftline_shared.callbacks import ignore

    settings = settings_of(config, state)
    source = settings.state
    try:
        done = make_backup(source, folder, ignore, artifacts=settings.storage.artifacts)
    except OSError as error:
        if not is_passing(error):
            where = error.filename or folder
            raise DataError(f"{where}: {error.strerror}", fix="Name another folder.") from error
        # A folder that is copied is locked meanwhile, so that is written to, too.
        raise DataError(trouble_of(error, str(source)), fix=fix_of(error)) from error
    if as_json:
        typer.echo(json.dumps({**asdict(done), "folder": str(done.folder)}, indent=2))
    else:
        typer.echo(f"{done.folder}: {done.num_files} files, {done.num_bytes:,} bytes, whole")
        if done.not_copied:
            typer.echo(f"not copied: {done.not_copied} (a restored cloud looks for it there)")


@backup_app.command(epilog=_RESTORE_EXAMPLES)
def restore(
    folder: Annotated[Path, typer.Argument(help="A backup.", metavar="DIR")],
    state: Annotated[Path, typer.Option("--state", help="The state folder to make of it.")],
    as_json: JsonFlag = False,
) -> None:
    """Make a state folder from a backup."""
    from driftline_cloud.backup.backup import restore as restore_state

    restore_state(folder, state)
    if as_json:
        typer.echo(json.dumps({"state": str(state), "backup": str(folder)}, indent=2))
    else:
        typer.echo(f"{state}: restored; `driftline cloud serve --state {state}` goes on from it")


@app.command(epilog=_EXAMPLES.format(word="upgrade"))
def upgrade(
    state: StateFlag = None, database_url: UrlFlag = None, as_json: JsonFlag = False
) -> None:
    """Bring the database to this driftline's schema, as every start does."""
    from driftline_cloud.intake import tables

    with opened_database(settings_of(None, state, database_url)):
        pass
    now = tables.SCHEMA_VERSION
    typer.echo(json.dumps({"schema": now}) if as_json else f"schema {now}")


@app.command(epilog=_EXAMPLES.format(word="check"))
def check(
    state: StateFlag = None,
    database_url: UrlFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Look whether database, releases and artifact store are whole; a cloud may run meanwhile. Exit
    code 1: not.
    """
    from driftline_cloud.backup.check import database_faults, far_faults, release_faults
    from driftline_cloud.blobs.remote import open_remote

    settings = settings_of(config, state, database_url)
    faults = release_faults(settings.state / "releases")
    if not settings.database_url:
        faults += database_faults(settings.state / "cloud.sqlite")
    if settings.storage.artifacts:
        far = open_remote(settings.storage.artifacts).within("releases")
        faults += far_faults(settings.state / "releases", far)
    if as_json:
        typer.echo(json.dumps({"whole": not faults, "faults": faults}, indent=2))
    if faults:
        raise DriftlineError(
            f"{settings.state} is not whole: {'; '.join(faults)}",
            fix="Look at the disk; `driftline cloud restore` brings back a backup.",
        )
    if not as_json:
        typer.echo("whole")


@app.command(epilog=_ADOPT_EXAMPLES)
def adopt(state: StateFlag = None, database_url: UrlFlag = None, as_json: JsonFlag = False) -> None:
    """Make the state folder that of the database, whichever it was before: after a move by hand."""
    from driftline_cloud.identity import adopt as adopt_folder
    from driftline_cloud.serving import check_unserved
    from driftline_cloud.state import StateFolder
    from driftline_shared.host.clock import SystemClock

    settings = settings_of(None, state, database_url)
    with opened_database(settings) as database:
        check_unserved(database, SystemClock())
        adopt_folder(database, StateFolder(settings.state))
    if as_json:
        typer.echo(json.dumps({"state": str(settings.state)}))
    else:
        typer.echo(f"{settings.state} is the database's state folder now")
