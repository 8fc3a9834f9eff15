"""Everybody who may come in, who asked to, and who may no more: one row an identity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, delete, func, insert, select, update

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.rollout.audit import operator, write_entry
from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.tokens import token_holds, use_token
from driftline_shared.errors import ConfigError, LinkError, Reason
from driftline_shared.plain_text import visible

MOST_PENDING, PENDING_S = 1_000, 7 * 86_400
"""Who asks without a token costs a row, for a week. So many wait at most: the next is turned away,
and pushes nobody out.
"""

MAX_LABEL_CHARS = 64


class State(StrEnum):
    """How a member stands."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REVOKED = "revoked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """`label`: what people call it. `not_after_unix_s`: when its newest certificate ends; 0: it has
    none.
    """

    identity: str
    label: str
    role: Role
    state: State
    added_unix_s: int
    changed_unix_s: int
    not_after_unix_s: int


class Members:
    """The register of identities."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, identity: str, *, label: str, token: str, now_unix_s: int) -> Member:
        """A device asks to be let in: accepted (by a token, or as it was before), or pending.

        A device that is accepted asks again as often as it likes: its last answer may have been
        lost, or its certificate may have ended while it was away. LinkError: `revoked`,
        `token_invalid`, `quota_exceeded`.
        """
        label = visible(label[:MAX_LABEL_CHARS])[:MAX_LABEL_CHARS]
        # Who is turned away, or known, needs no lock that everybody else waits for.
        with self._database.read() as connection:
            found = _find(connection, identity)
            if found is not None and (found.state is State.ACCEPTED or not token):
                return _unless_revoked(found)
            if token and not token_holds(connection, token, now_unix_s=now_unix_s):
                raise _no_such_token()
            if found is None and not token and _is_full(connection, now_unix_s):
                raise _too_many()
        with self._database.write() as connection:
            found = _find(connection, identity)
            if found is not None and _unless_revoked(found).state is State.ACCEPTED:
                return found
            state = State.PENDING
            if token:
                given = use_token(connection, token, now_unix_s=now_unix_s)
                if given is None:
                    raise _no_such_token()
                state, label = State.ACCEPTED, label or given
            if found is None:
                if state is State.PENDING:
                    _make_room(connection, now_unix_s)
                _add(connection, identity, label, Role.DEVICE, state, now_unix_s)
            elif state is not found.state:
                _change(connection, identity, state, now_unix_s)
            member = _find(connection, identity)
        assert member is not None
        return member

    def add(self, identity: str, *, label: str, role: Role, now_unix_s: int, who: str = "") -> None:
        """Let in whom an operator made a certificate for; `who` did, for the log, empty: the cloud
        did for itself.
        """
        with self._database.write() as connection:
            if _find(connection, identity) is not None:
                return
            _add(connection, identity, label, role, State.ACCEPTED, now_unix_s)
            if who:
                write_entry(
                    connection,
                    now_unix_s=now_unix_s,
                    who=who,
                    action=f"add {role}",
                    line="",
                    version=None,
                    detail=f"{identity} {label}",
                )

    def certified(self, identity: str, *, not_after_unix_s: int) -> None:
        """Keep until when its newest certificate holds."""
        table = tables.members
        with self._database.write() as connection:
            connection.execute(
                update(table)
                .where(table.c.identity == identity)
                .values(not_after_unix_s=not_after_unix_s)
            )

    def accept(self, identity: str, *, now_unix_s: int, who: str = "") -> Member:
        """Let in who is pending, or was revoked; ConfigError for an identity that is not there.
        `who` orders it, for the log.
        """
        return self._set(identity, State.ACCEPTED, now_unix_s, who=who, action="accept")

    def revoke(self, identity: str, *, now_unix_s: int, who: str = "") -> Member:
        """Let in no more, from within a second on; ConfigError for one that is not there."""
        return self._set(identity, State.REVOKED, now_unix_s, who=who, action="revoke")

    def listed(self, states: Iterable[State] = tuple(State)) -> list[Member]:
        """Who is in one of `states`: pending first, then by label."""
        table, wanted = tables.members, [str(one) for one in states]
        query = (
            select(table).where(table.c.state.in_(wanted)).order_by(table.c.label, table.c.identity)
        )
        with self._database.read() as connection:
            found = [_member(row) for row in connection.execute(query).mappings()]
        return sorted(found, key=lambda one: one.state is not State.PENDING)

    def revoked(self) -> frozenset[str]:
        """The identities that may come in no more."""
        table = tables.members
        query = select(table.c.identity).where(table.c.state == State.REVOKED)
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def _set(self, prefix: str, state: State, now_unix_s: int, *, who: str, action: str) -> Member:
        table = tables.members
        with self._database.write() as connection:
            query = select(table.c.identity).where(
                table.c.identity.startswith(prefix, autoescape=True)
            )
            found = connection.execute(query.limit(2)).scalars().all()
            if len(found) != 1 or len(prefix) < 8:
                what = "no identity begins" if not found else "several identities begin"
                raise ConfigError(
                    f"{what} with {prefix!r}" if len(prefix) >= 8 else f"{prefix!r} is too short",
                    fix="`driftline cloud member list` shows them; 8 digits or more name one.",
                )
            _change(connection, found[0], state, now_unix_s)
            member = _find(connection, found[0])
            write_entry(
                connection,
                now_unix_s=now_unix_s,
                who=who or operator(),
                action=action,
                line="",
                version=None,
                detail=found[0],
            )
        assert member is not None
        return member


def _unless_revoked(member: Member) -> Member:
    if member.state is State.REVOKED:
        raise LinkError(f"{member.identity} is revoked", reason=Reason.REVOKED)
    return member


def _no_such_token() -> LinkError:
    return LinkError("the token is unknown, used up, or has ended", reason=Reason.TOKEN_INVALID)


def _too_many() -> LinkError:
    return LinkError(
        f"{MOST_PENDING} devices wait to be accepted already", reason=Reason.QUOTA_EXCEEDED
    )


def _find(connection: Connection, identity: str) -> Member | None:
    table = tables.members
    row = connection.execute(select(table).where(table.c.identity == identity)).mappings().first()
    return None if row is None else _member(row)


def _member(row: object) -> Member:
    found = dict(row)  # type: ignore[call-overload]
    return Member(
        identity=found["identity"],
        label=found["label"],
        role=Role(found["role"]),
        state=State(found["state"]),
        added_unix_s=found["added_unix_s"],
        changed_unix_s=found["changed_unix_s"],
        not_after_unix_s=found["not_after_unix_s"],
    )


def _add(
    connection: Connection, identity: str, label: str, role: Role, state: State, now_unix_s: int
) -> None:
    connection.execute(
        insert(tables.members).values(
            identity=identity,
            label=label,
            role=str(role),
            state=str(state),
            added_unix_s=now_unix_s,
            changed_unix_s=now_unix_s,
            not_after_unix_s=0,
        )
    )


def _change(connection: Connection, identity: str, state: State, now_unix_s: int) -> None:
    table = tables.members
    connection.execute(
        update(table)
        .where(table.c.identity == identity)
        .values(state=str(state), changed_unix_s=now_unix_s)
    )


def _make_room(connection: Connection, now_unix_s: int) -> None:
    table = tables.members
    pending = table.c.state == State.PENDING
    if _num_pending(connection) < MOST_PENDING:
        return
    connection.execute(delete(table).where(pending, table.c.added_unix_s < now_unix_s - PENDING_S))
    if _num_pending(connection) >= MOST_PENDING:
        raise _too_many()


def _is_full(connection: Connection, now_unix_s: int) -> bool:
    """Whether nobody who waits has waited for so long that another may have the place."""
    return _num_pending(connection, since_unix_s=now_unix_s - PENDING_S) >= MOST_PENDING


def _num_pending(connection: Connection, *, since_unix_s: int = 0) -> int:
    table = tables.members
    query = (
        select(func.count())
        .select_from(table)
        .where(table.c.state == State.PENDING, table.c.added_unix_s >= since_unix_s)
    )
    return int(connection.scalar(query) or 0)
