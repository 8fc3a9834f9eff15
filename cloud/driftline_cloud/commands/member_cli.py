"""`driftline cloud member`: who may speak to a cloud, who no more.

They read and write the cloud's own folder and database; who serves follows within a second.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_cloud.commands.addresses import ConfigFlag, JsonFlag, StateFlag, UrlFlag
from driftline_cloud.commands.authority import check_authority
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_shared.errors import ConfigError
from driftline_shared.plain_text import visible

if TYPE_CHECKING:
    from driftline_cloud.intake.database import Database
    from driftline_cloud.trust.members import Member

app = typer.Typer(
    help="Who may speak to this cloud: list, accept, revoke, add.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

_LIST_EXAMPLES = """
**Examples**

    driftline cloud member list

    driftline cloud member list --pending --json

Those who wait to be accepted come first.
"""

_CHANGE_EXAMPLES = """
**Examples**

    driftline cloud member {word} 0123456789ab

    driftline cloud member {word} 0123456789ab --state /var/lib/driftline --json

The first 8 digits or more of an identity. Exit code 2: there is no such one.
"""

_REVOKE_EXAMPLES = """
**Examples**

    driftline cloud member revoke 0123456789ab

    driftline cloud member revoke 0123456789ab --state /var/lib/driftline --yes --json

The first 8 digits or more of an identity. The identity that commands on this machine show (`this
machine` in the list) is asked about first; where nobody can be asked, it takes --yes. Exit code 1:
you said no; 2: there is no such one, or it takes --yes.
"""

_ADD_EXAMPLES = """
**Examples**

    driftline cloud member add anna --role operator --out anna/

    DRIFTLINE_IDENTITY=anna/ driftline cloud status --address cloud.example:7443

The folder holds a private key: hand it over as you would a password. An operator may do all that
commands do over the network; a reader may look.
"""


class _MemberRole(StrEnum):
    OPERATOR = "operator"
    READER = "reader"


@app.command("list", epilog=_LIST_EXAMPLES)
def list_(
    pending: Annotated[
        bool, typer.Option("--pending", help="Only those who wait to be accepted.")
    ] = False,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List who may speak to this cloud, who waits to, and who may no more."""
    from driftline_cloud.trust.members import Members, State

    with _members_database(config, state, database_url) as database:
        states = [State.PENDING] if pending else list(State)
        rows = Members(database).listed(states)
    if as_json:
        typer.echo(json.dumps({"members": [asdict(row) for row in rows]}, indent=2))
        return
    for row in rows:
        typer.echo(_text(row))
    if not rows:
        typer.echo("nobody waits" if pending else "nobody yet: `driftline cloud enrol-token`")


@app.command(epilog=_CHANGE_EXAMPLES.format(word="accept"))
def accept(
    identity: Annotated[str, typer.Argument(help="As `list` shows it.", metavar="IDENTITY")],
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Let in who waits, or was revoked."""
    from driftline_cloud.trust.members import Members

    with _members_database(config, state, database_url) as database:
        _show(Members(database).accept(identity, now_unix_s=int(time.time())), as_json)


@app.command(epilog=_REVOKE_EXAMPLES)
def revoke(
    identity: Annotated[str, typer.Argument(help="As `list` shows it.", metavar="IDENTITY")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Also where it is what commands here show themselves.")
    ] = False,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Shut somebody out, open streams included, within a second."""
    from driftline_cloud.trust.members import Members

    with _members_database(config, state, database_url) as database:
        if not yes:
            _ask_about_own(settings_of(config, state, database_url).state, identity)
        _show(Members(database).revoke(identity, now_unix_s=int(time.time())), as_json)


@app.command(epilog=_ADD_EXAMPLES)
def add(
    name: Annotated[str, typer.Argument(help="What people call them.", metavar="NAME")],
    out: Annotated[
        Path, typer.Option("--out", help="A new folder for key and certificate.", metavar="FOLDER")
    ],
    role: Annotated[_MemberRole, typer.Option("--role", help="What they may do.")] = (
        _MemberRole.READER
    ),
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key and a certificate, for a year, for a person who looks or operates."""
    from driftline_cloud.rollout.audit import operator
    from driftline_cloud.trust.authority import read_authority
    from driftline_cloud.trust.issuer import LocalIssuer, Role
    from driftline_cloud.trust.members import Members
    from driftline_cloud.trust.operator import OPERATOR_DAYS, make_credentials

    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is there and not empty", fix="Name a new folder.")
    settings = settings_of(config, state, database_url)
    check_authority(settings)
    with opened_database(settings) as database:
        issuer = LocalIssuer(read_authority(settings.state), days=OPERATOR_DAYS)
        identity = make_credentials(out, issuer, Role(role))
        members = Members(database)
        members.add(
            identity,
            label=visible(name)[:64],
            role=Role(role),
            now_unix_s=int(time.time()),
            who=operator(),
        )
        found = next(one for one in members.listed() if one.identity == identity)
    _show(found, as_json)


def _ask_about_own(state: Path, prefix: str) -> None:
    """Ask before the operator revokes what their own commands show; ConfigError where nobody is
    there to be asked.
    """
    from driftline_cloud.trust.operator import operator_credentials

    own = operator_credentials(state)
    if own is None or len(prefix) < _FEWEST_DIGITS or not own.identity.startswith(prefix):
        return
    told = (
        f"{own.identity} is what commands on this machine show: the cloud will refuse `driftline "
        f"cloud status` and `round start` here until `driftline cloud member accept {prefix}`"
    )
    if not sys.stdin.isatty():
        raise ConfigError(told, fix="Give --yes if you mean it.")
    typer.confirm(f"{told}. Revoke it?", abort=True)


_FEWEST_DIGITS = 8
"""Of an identity: fewer name nobody."""


@contextmanager
def _members_database(
    config: Path | None, state: Path | None, database_url: str | None
) -> Iterator[Database]:
    settings = settings_of(config, state, database_url)
    check_authority(settings)
    with opened_database(settings) as database:
        yield database


def _show(member: Member, as_json: bool) -> None:
    typer.echo(json.dumps(asdict(member), indent=2) if as_json else _text(member))


def _text(member: Member) -> str:
    until = (
        f", certificate until {datetime.fromtimestamp(member.not_after_unix_s, tz=UTC):%Y-%m-%d}"
        if member.not_after_unix_s
        else ""
    )
    return f"{member.identity}  {member.state} {member.role}  {visible(member.label)}{until}"
