"""Who did what to which version, when and why: written in the transaction of what was done."""

from __future__ import annotations

import getpass
from dataclasses import dataclass, fields

from sqlalchemy import Connection, insert, select

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_shared.plain_text import visible

CLOUD = "cloud"
"""Who does what follows from settings and reports."""

MOST_DETAIL = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditEntry:
    """One thing that was done, at a time in seconds since 1970."""

    sequence: int
    at_unix_s: int
    who: str
    action: str
    line: str
    version: int | None
    detail: str


def write_entry(
    connection: Connection,
    *,
    now_unix_s: int,
    who: str,
    action: str,
    line: str,
    version: int | None,
    detail: str = "",
) -> None:
    """Add an entry inside the transaction of `connection`."""
    connection.execute(
        insert(tables.audit).values(
            at_unix_s=now_unix_s,
            who=visible(who)[:128],
            action=action,
            line=line,
            version=version,
            detail=visible(detail)[:MOST_DETAIL],
        )
    )


def entries(
    database: Database, *, line: str = "", limit: int = 100, offset: int = 0
) -> list[AuditEntry]:
    """What was done, newest first; of every line where `line` is empty."""
    table = tables.audit
    query = select(*(table.c[each.name] for each in fields(AuditEntry)))
    if line:
        query = query.where(table.c.line == line)
    query = query.order_by(table.c.sequence.desc()).limit(limit).offset(offset)
    with database.read() as connection:
        return [AuditEntry(**row) for row in connection.execute(query).mappings()]


def operator() -> str:
    """The name of the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "operator"
