"""Tokens that let devices in without an operator: counted, dated, and kept as digests alone."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.rollout.audit import operator, write_entry
from driftline_shared.errors import ConfigError
from driftline_shared.plain_text import moment
from driftline_shared.trust.invitation import TOKEN_BYTES, token_text

MOST_TOKENS = 10_000
_MOST_CHARS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownToken:
    """`id`: first digits of its digest. `uses_left`: devices that it still lets in."""

    id: str
    uses_left: int
    label: str
    expires_unix_s: int


class EnrolTokens:
    """The tokens that an operator made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def make(
        self, *, uses: int, ttl_s: int, label: str = "", now_unix_s: int, who: str = ""
    ) -> str:
        """A new token for `uses` devices within `ttl_s` seconds; ConfigError beside too many. `who`
        made it, for the log.
        """
        token, table = token_text(os.urandom(TOKEN_BYTES)), tables.enrol_tokens
        with self._database.write() as connection:
            connection.execute(delete(table).where(table.c.expires_unix_s < now_unix_s))
            if int(connection.scalar(select(func.count()).select_from(table)) or 0) >= MOST_TOKENS:
                raise ConfigError(
                    f"{MOST_TOKENS} tokens wait to be used",
                    fix="Take one with more --uses, or wait until some have ended.",
                )
            connection.execute(
                insert(table).values(
                    digest=_digest(token),
                    uses_left=uses,
                    label=label,
                    made_unix_s=now_unix_s,
                    expires_unix_s=now_unix_s + ttl_s,
                )
            )
            write_entry(
                connection,
                now_unix_s=now_unix_s,
                who=who or operator(),
                action="invite",
                line="",
                version=None,
                detail=f"{uses} devices, until {moment(now_unix_s + ttl_s)}Z  {label}".rstrip(),
            )
        return token

    def listed(self, *, now_unix_s: int) -> list[KnownToken]:
        """Those that still let somebody in, the one that ends first before the others."""
        table = tables.enrol_tokens
        query = (
            select(table)
            .where(table.c.expires_unix_s >= now_unix_s, table.c.uses_left > 0)
            .order_by(table.c.expires_unix_s, table.c.digest)
        )
        with self._database.read() as connection:
            return [
                KnownToken(
                    id=row["digest"][:12],
                    uses_left=row["uses_left"],
                    label=row["label"],
                    expires_unix_s=row["expires_unix_s"],
                )
                for row in connection.execute(query).mappings()
            ]


def use_token(connection: Connection, token: str, *, now_unix_s: int) -> str | None:
    """Take one use of `token`, in the transaction that lets the device in: its label; None where
    there is no such token, or none is left of it.
    """
    if len(token) > _MOST_CHARS:
        return None
    table = tables.enrol_tokens
    done = connection.execute(
        update(table).where(_usable(token, now_unix_s)).values(uses_left=table.c.uses_left - 1)
    )
    if not done.rowcount:
        return None
    mine = table.c.digest == _digest(token)
    return str(connection.execute(select(table.c.label).where(mine)).scalar_one())


def token_holds(connection: Connection, token: str, *, now_unix_s: int) -> bool:
    """Whether `token` would let somebody in now; nothing of it is used."""
    if len(token) > _MOST_CHARS:
        return False
    query = select(tables.enrol_tokens.c.digest).where(_usable(token, now_unix_s))
    return connection.execute(query).first() is not None


def _usable(token: str, now_unix_s: int) -> ColumnElement[bool]:
    table = tables.enrol_tokens
    return and_(
        table.c.digest == _digest(token),
        table.c.uses_left > 0,
        table.c.expires_unix_s >= now_unix_s,
    )


def _digest(token: str) -> str:
    # 144 random bits: nothing to guess, so nothing that a slow digest would protect.
    return hashlib.sha256(token.encode()).hexdigest()
