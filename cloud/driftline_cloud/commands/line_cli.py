"""`driftline cloud line`: which pairs a cloud serves, changed while it runs.

The commands read and write the cloud's database itself; who serves and who works follow within a
second or two.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline_cloud.commands.addresses import ConfigFlag, JsonFlag, StateFlag, UrlFlag
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_shared.errors import DataError, Reason
from driftline_shared.plain_text import moment, visible

if TYPE_CHECKING:
    from driftline_cloud.intake.database import Database
    from driftline_cloud.lines.book import KnownLine
    from driftline_shared.status import LineStatus

app = typer.Typer(
    help="Add a pair to a cloud, pause it, drop it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

LineArgument = Annotated[
    str,
    typer.Argument(help="As `list` shows it, or the name of its only pair.", metavar="LINE"),
]

_ADD_EXAMPLES = """
**Examples**

    driftline cloud line add boards

    driftline cloud line add /srv/pairs/mine --state /var/lib/driftline --json

Devices of the pair that were turned away come by themselves within a minute or two. A pair that is
given by its folder must be there for whoever works, too. Exit code 1: no such pair, its line is
there already, or there is no cloud; 2: a flag is wrong.
"""

_LIST_EXAMPLES = """
**Examples**

    driftline cloud line list

    driftline cloud line list --state /var/lib/driftline --json

Below the lines: base models that devices came with and no line has.
"""

_CHANGE_EXAMPLES = """
**Examples**

    driftline cloud line {word} boards

    driftline cloud line {word} boards-0123456789ab --state /var/lib/driftline --json

Exit code 1: there is no such line, it is not to be done now, or there is no cloud; 2: a flag is
wrong.
"""


@app.command(epilog=_ADD_EXAMPLES)
def add(
    pair: Annotated[
        str, typer.Argument(help="A shipped pair, a pair folder, or its TOML file.", metavar="PAIR")
    ],
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve a pair beside the others; one that was dropped comes back with what is stored of it."""
    settings = settings_of(config, state, database_url)
    from driftline_cloud.lines.book import LineBook
    from driftline_cloud.lines.pairs import line_of, named_pair
    from driftline_cloud.service.line_opener import policy_of
    from driftline_shared.pair.signed import load_trusted

    found = load_trusted(pair, settings.pair_key)
    policy_of(found, settings)  # what would keep it from being served is told here
    with opened_database(settings) as database:
        row = LineBook(database).add(named_pair(pair), line_of(found), now_unix_s=int(time.time()))
        _show(_listed(database, row), as_json)


@app.command("list", epilog=_LIST_EXAMPLES)
def list_(
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List the lines, and the base models that no line has."""
    from driftline_cloud.lines.book import LineBook
    from driftline_cloud.lines.unknown import UnknownBases

    with opened_database(settings_of(config, state, database_url)) as database:
        rows = [_listed(database, row) for row in LineBook(database).all()]
        unknown = [asdict(base) for base in UnknownBases(database).listed()]
    if as_json:
        typer.echo(json.dumps({"lines": rows, "unknown_bases": unknown}, indent=2))
        return
    for row in rows:
        _show(row, as_json=False)
    if not rows:
        typer.echo("no line yet: `driftline cloud serve` adds the first")
    for base in unknown:
        typer.echo(unknown_text(**base))


@app.command(epilog=_CHANGE_EXAMPLES.format(word="pause"))
def pause(
    line: LineArgument,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Let no round begin or go on; its devices are served, their samples stored."""
    _change(line, "active", "paused", settings=(config, state, database_url), as_json=as_json)


@app.command(epilog=_CHANGE_EXAMPLES.format(word="resume"))
def resume(
    line: LineArgument,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Let the rounds of a paused line go on."""
    _change(line, "paused", "active", settings=(config, state, database_url), as_json=as_json)


@app.command(epilog=_CHANGE_EXAMPLES.format(word="drop"))
def drop(
    line: LineArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Although devices are on it or a round is open.")
    ] = False,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Turn the devices of a line away; what is stored stays, and `add` brings it back."""
    from driftline_cloud.lines.book import DROPPED, LineBook

    with opened_database(settings_of(config, state, database_url)) as database:
        book = LineBook(database)
        row = book.find(line)
        if row.state == DROPPED:
            raise DataError(
                f"line {row.id} is dropped already",
                reason=Reason.LINE_DROPPED,
                fix=f"Nothing is to be done; `driftline cloud line add {row.pair}` brings it back.",
            )
        now = _listed(database, row)
        held = [f"round {now['open_round']} is open"] if now["open_round"] else []
        held += [f"{now['num_devices']} devices are on it"] if now["num_devices"] else []
        if held and not force:
            raise DataError(
                f"line {row.id} is in use: {', '.join(held)}",
                fix="Pause it and wait for its round, or --force: its devices answer alone then.",
            )
        row = book.set_state(row.id, DROPPED, now_unix_s=int(time.time()))
        _show(_listed(database, row), as_json)


def _change(
    line: str,
    before: str,
    after: str,
    *,
    settings: tuple[Path | None, Path | None, str | None],
    as_json: bool,
) -> None:
    from driftline_cloud.lines.book import LineBook

    with opened_database(settings_of(*settings)) as database:
        book = LineBook(database)
        row = book.find(line)
        if row.state not in (before, after):
            raise DataError(
                f"line {row.id} is {row.state}",
                reason=Reason.LINE_DROPPED,
                fix=f"`driftline cloud line add {row.pair}` brings it back.",
            )
        if row.state != after:
            row = book.set_state(row.id, after, now_unix_s=int(time.time()))
        _show(_listed(database, row), as_json)


def _listed(database: Database, row: KnownLine) -> dict[str, Any]:
    from driftline_cloud.intake.devices import DeviceRegister
    from driftline_cloud.intake.store import SampleStore
    from driftline_cloud.rounds.ledger import RoundLedger

    round_ = RoundLedger(database).open_round(row.id)
    return {
        **asdict(row),
        "num_devices": DeviceRegister(database).count(row.id),
        "num_waiting": SampleStore(database).counts(row.id).num_waiting,
        "open_round": "" if round_ is None else round_.id,
    }


def _show(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(row, indent=2))
        return
    typer.echo(
        f"{row['id']}  {row['state']:<7}  {row['num_devices']} devices, {row['num_waiting']} "
        f"samples wait  {visible(row['pair'])}"
    )


def unknown_text(*, base_model: str, pair: str, num_devices: int, last_seen_unix_s: int) -> str:
    """One base model that no line has, in a line."""
    return (
        f"no line has base model {base_model[:12]} (pair {visible(pair)}): {num_devices} devices "
        f"came with it, last {moment(last_seen_unix_s)} UTC"
    )


def dropped_text(line: LineStatus) -> str:
    """A line that is dropped, in a line."""
    return (
        f"line {visible(line.line)} is dropped: {line.num_devices} devices, {line.num_samples} "
        f"samples ({line.num_waiting} waiting); `driftline cloud line add {visible(line.pair)}` "
        "brings it back"
    )
