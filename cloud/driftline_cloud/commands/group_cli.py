"""`driftline cloud group`: devices of a line that have adapters of their own; orders about them.

The commands read and write the cloud's database itself; who serves and who works follow within a
second or two.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline_cloud.commands.addresses import ConfigFlag, JsonFlag, StateFlag, UrlFlag
from driftline_cloud.commands.lines import LineFlag, named_line
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_shared.plain_text import visible

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from driftline_cloud.grouping.moves import Order
    from driftline_cloud.intake.database import Database

app = typer.Typer(
    help="See groups of devices with adapters of their own; split, move and merge them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

WhyFlag = Annotated[str, typer.Option("--why", help="The reason, for the log.", metavar="TEXT")]
ByFlag = Annotated[
    str | None, typer.Option("--by", help="Who orders it; default: this user.", metavar="NAME")
]
DevicesArgument = Annotated[list[str], typer.Argument(help="Ids of devices.", metavar="DEVICE...")]

_EXAMPLES = """
**Examples**

    driftline cloud group {example}

    driftline cloud group {example} --state /var/lib/driftline --json

Exit code 1: {fails}; 2: a flag is wrong.
"""

_LIST_EXAMPLES = """
**Examples**

    driftline cloud group list

    driftline cloud group list --state /var/lib/driftline --json

Below the lines: the last decisions to split one or to keep it together, with their reasons.
"""

MOST_DECISIONS = 10
DECISIONS = ("split", "keep", "merge", "move")


@app.command("list", epilog=_LIST_EXAMPLES)
def list_(
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List lines and their groups, and why they are as they are."""
    from driftline_cloud.lines.book import LineBook
    from driftline_cloud.rollout.store import RolloutStore

    with opened_database(settings_of(config, state, database_url)) as database:
        rows = [_row(database, row.id) for row in LineBook(database).all()]
        log = RolloutStore(database).log(limit=1_000)
    decided = [asdict(one) for one in log if one.action in DECISIONS][:MOST_DECISIONS]
    if as_json:
        typer.echo(json.dumps({"lines": rows, "decisions": decided}, indent=2))
        return
    for row in sorted(rows, key=lambda row: (row["parent"] or row["line"], row["parent"] != "")):
        typer.echo(_text(row))
    for one in decided:
        said = f"{one['who']}: {one['action']} {one['line']}: {one['detail']}"
        typer.echo(visible(said))


@app.command(
    epilog=_EXAMPLES.format(
        example="split dock cam-17 cam-18",
        fails="the name is taken, or a device is not on the line",
    )
)
def split(
    name: Annotated[str, typer.Argument(help="Of the new group.", metavar="NAME")],
    devices: DevicesArgument,
    line: LineFlag = "",
    why: WhyFlag = "",
    by: ByFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Give devices adapters of their own from now on, and their samples with them."""
    from driftline_cloud.grouping import moves

    def change(connection: Connection, named: str, order: Order) -> str:
        return moves.split(connection, named, name, devices, order).id

    _ordered((config, state, database_url), line, change, why, by, as_json)


@app.command(
    epilog=_EXAMPLES.format(
        example="move cam-17 --to tiny/g2", fails="a device is on no line of the same pair"
    )
)
def move(
    devices: DevicesArgument,
    to: Annotated[str, typer.Option("--to", help="Line, or PAIR, or PAIR/GROUP.", metavar="LINE")],
    why: WhyFlag = "",
    by: ByFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Put devices, and their samples, on another line of their pair."""
    from driftline_cloud.grouping import moves

    def change(connection: Connection, named: str, order: Order) -> str:
        moves.move(connection, devices, named, order)
        return named

    _ordered((config, state, database_url), to, change, why, by, as_json)


@app.command(
    epilog=_EXAMPLES.format(example="merge tiny/g2", fails="it is no group, or its round is open")
)
def merge(
    group: Annotated[str, typer.Argument(help="Line, or PAIR/GROUP.", metavar="GROUP")],
    why: WhyFlag = "",
    by: ByFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Put all devices of a group back on the line that it left; the group is over."""
    from driftline_cloud.grouping import moves

    def change(connection: Connection, named: str, order: Order) -> str:
        return moves.merge(connection, named, order).id

    _ordered((config, state, database_url), group, change, why, by, as_json)


def _ordered(
    settings: tuple[Path | None, Path | None, str | None],
    line: str,
    change: Callable[[Connection, str, Order], str],
    why: str,
    by: str | None,
    as_json: bool,
) -> None:
    """Do `change` on the line that is named in one transaction, and show the line that it gives."""
    from driftline_cloud.grouping.moves import Order
    from driftline_cloud.rollout.audit import operator

    with opened_database(settings_of(*settings)) as database:
        named = named_line(database, line)
        order = Order(who=by or operator(), why=why, now_unix_s=int(time.time()))
        with database.write() as connection:
            changed = change(connection, named, order)
        row = _row(database, changed)
    typer.echo(json.dumps(row, indent=2) if as_json else _text(row))


def _row(database: Database, line: str) -> dict[str, Any]:
    from driftline_cloud.intake.devices import DeviceRegister
    from driftline_cloud.intake.store import SampleStore
    from driftline_cloud.lines.book import LineBook
    from driftline_cloud.rounds.ledger import RoundLedger

    row, ledger = LineBook(database).find(line), RoundLedger(database)
    newest = max([row.forked_version, ledger.newest_done(row.id), *ledger.versions(row.id)])
    return {
        "line": row.id,
        "group": row.group,
        "parent": row.parent,
        "state": row.state,
        "forked_version": row.forked_version,
        "newest_version": newest,
        "num_devices": DeviceRegister(database).count(row.id),
        "num_waiting": SampleStore(database).counts(row.id).num_waiting,
    }


def _text(row: dict[str, Any]) -> str:
    since = f" since version {row['forked_version']}" if row["parent"] else ""
    return (
        f"{'  ' if row['parent'] else ''}{row['line']}  {row['state']}{since}, version "
        f"{row['newest_version']}, {row['num_devices']} devices, {row['num_waiting']} samples wait"
    )
