"""Orders that change files, in the log of who did what beside those that change the database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from driftline_cloud.commands.opened import has_database, opened_database
from driftline_shared.errors import DriftlineError

if TYPE_CHECKING:
    from driftline_cloud.config import CloudConfig


def log_order(settings: CloudConfig, action: str, detail: str = "") -> None:
    """Write down what this user has done. It is done: where it cannot be written down, that is
    said and nothing else; a cloud that was never served has no log.
    """
    from driftline_cloud.rollout.audit import operator, write_entry

    if not has_database(settings):
        return
    try:
        with opened_database(settings) as database, database.write() as connection:
            write_entry(
                connection,
                now_unix_s=int(time.time()),
                who=operator(),
                action=action,
                line="",
                version=None,
                detail=detail,
            )
    except DriftlineError as error:
        typer.echo(f"done, and not in the log of who did what: {error}", err=True)
