"""`driftline cloud release`: how far versions have got, and orders about them.

The commands read and write the cloud's database itself, so they are nobody's who can only reach its
port; a cloud that serves takes an order up within two seconds, one that does not at its next start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline_cloud.commands.addresses import ConfigFlag, JsonFlag, StateFlag, UrlFlag
from driftline_cloud.commands.lines import LineFlag, named_line
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_shared.errors import DataError
from driftline_shared.plain_text import moment, visible

if TYPE_CHECKING:
    from driftline_cloud.rollout.orders import RolloutOrders
    from driftline_cloud.rollout.rollout import Rollout
    from driftline_cloud.rollout.store import RolloutStore

app = typer.Typer(
    help="See how far versions have got; pause, promote, stop or roll back one.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

WhyFlag = Annotated[str, typer.Option("--why", help="The reason, for the log.", metavar="TEXT")]
ByFlag = Annotated[
    str | None, typer.Option("--by", help="Who orders it; default: this user.", metavar="NAME")
]
LimitFlag = Annotated[int, typer.Option("--limit", help="At most so many.", min=1, max=10_000)]

_EXAMPLES = """
**Examples**

    driftline cloud release {word}

    driftline cloud release {word} --state /var/lib/driftline --line smol-1f0c --json
"""

_ORDER_EXAMPLES = """
**Examples**

    driftline cloud release {word}

    driftline cloud release {word} --state /var/lib/driftline --why "{why}" --json

Exit code 1: there is nothing to {word}; 2: a flag is wrong.
"""

_ROLLBACK_EXAMPLES = """
**Examples**

    driftline cloud release rollback --to 3

    driftline cloud release rollback --to 0 --why "the cameras were moved" --json

Its bits come back under a new number, for all devices at once. Exit code 1: there is no such
version, or it was stopped itself; 2: a flag is wrong.
"""


_LOG_EXAMPLES = """
**Examples**

    driftline cloud release log

    driftline cloud release log --state /var/lib/driftline --line smol-1f0c --json

What was done to members and keys is of no line: it is shown without --line.
"""


@app.command("list", epilog=_EXAMPLES.format(word="list"))
def list_(
    line: LineFlag = "",
    limit: LimitFlag = 20,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List versions, newest first, with whom they reach and how many devices hold them."""
    with _store(config, state, database_url) as store:
        name = named_line(store.database, line)
        held = store.holding(name)
        found = [_row(store, one, held) for one in store.newest(name, limit=limit)]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for row in found:
        typer.echo(
            f"{row['version']:>6}  {row['state']:<17}  {row['share']:>4.0%}"
            f"  {row['num_holding']:>6} hold it  {visible(row['reason'])}"
        )
    if not found:
        typer.echo(f"line {visible(name)} has released no version yet")


@app.command(epilog=_EXAMPLES.format(word="show"))
def show(
    version: Annotated[
        int | None, typer.Argument(help="Which; default: the newest.", metavar="VERSION", min=1)
    ] = None,
    line: LineFlag = "",
    devices: Annotated[
        bool, typer.Option("--devices", help="Also the devices of its phases.")
    ] = False,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Show how far one version has got, what its devices reported, what it waits for."""
    with _store(config, state, database_url) as store:
        name = named_line(store.database, line)
        newest = store.newest(name, limit=1)
        found = newest[0] if version is None and newest else store.get(name, version or 0)
        if found is None:
            raise DataError(
                f"line {visible(name)} has no rollout"
                + ("" if version is None else f" of version {version}"),
                fix="`driftline cloud release list` shows those there are.",
            )
        row = _row(store, found, store.holding(name)) | _closer(store, found)
        if devices:
            row["devices"] = sorted(store.members(name, found.version))
    if as_json:
        typer.echo(json.dumps(row, indent=2))
        return
    for key, value in row.items():
        typer.echo(f"{key:<16}{visible(str(value))}")


@app.command(epilog=_ORDER_EXAMPLES.format(word="approve", why="seen on the bench"))
def approve(
    line: LineFlag = "",
    why: WhyFlag = "",
    by: ByFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Let the version that waits for approval begin (`rollout.approval`)."""
    _order(lambda orders: orders.approve, line, why, by, (config, state, database_url), as_json)


@app.command(epilog=_ORDER_EXAMPLES.format(word="pause", why="an alarm in hall 2"))
def pause(
    line: LineFlag = "",
    why: WhyFlag = "",
    by: ByFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Let nobody else have the version on its way for now; who has it keeps it."""
    _order(lambda orders: orders.pause, line, why, by, (config, state, database_url), as_json)


@app.command(epilog=_ORDER_EXAMPLES.format(word="resume", why="a false alarm"))
def resume(
    line: LineFlag = "",
    why: WhyFlag = "",
    by: ByFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Go on with the version that was paused; the time of its phase begins anew."""
    _order(lambda orders: orders.resume, line, why, by, (config, state, database_url), as_json)


@app.command(epilog=_ORDER_EXAMPLES.format(word="promote", why="the canary is well"))
def promote(
    line: LineFlag = "",
    to_all: Annotated[bool, typer.Option("--all", help="To everyone, not the next phase.")] = False,
    why: WhyFlag = "",
    by: ByFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Begin the next phase of the version on its way now, whatever has been reported."""

    def change(orders: RolloutOrders) -> Callable[..., Rollout]:
        return lambda line, who, why: orders.promote(line, who=who, why=why, to_all=to_all)

    _order(change, line, why, by, (config, state, database_url), as_json)


@app.command(epilog=_ORDER_EXAMPLES.format(word="stop", why="it reads numbers wrong"))
def stop(
    line: LineFlag = "",
    why: WhyFlag = "",
    by: ByFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Take back the version on its way: the one before it is released again, to all."""
    _order(lambda orders: orders.stop, line, why, by, (config, state, database_url), as_json)


@app.command(epilog=_ROLLBACK_EXAMPLES)
def rollback(
    to: Annotated[int, typer.Option("--to", help="Version to go back to; 0: the base.", min=0)],
    line: LineFlag = "",
    why: WhyFlag = "",
    by: ByFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Take back every version after one: its bits are released again, to all."""

    def change(orders: RolloutOrders) -> Callable[..., Rollout]:
        return lambda line, who, why: orders.rollback(line, to, who=who, why=why)

    _order(change, line, why, by, (config, state, database_url), as_json)


@app.command(epilog=_LOG_EXAMPLES)
def log(
    line: Annotated[
        str, typer.Option("--line", help="A line, or the pair of one; default: all, and no line.")
    ] = "",
    limit: LimitFlag = 100,
    offset: Annotated[int, typer.Option("--offset", help="Leave out the first.", min=0)] = 0,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List who did what, and why, newest first: to versions, lines, groups, members and keys."""
    from dataclasses import asdict

    with _store(config, state, database_url) as store:
        name = named_line(store.database, line) if line else ""
        found = store.log(line=name, limit=limit, offset=offset)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    for one in found:
        version = "" if one.version is None else f" version {one.version}"
        typer.echo(
            f"{_time(one.at_unix_s)}  {one.who}  {one.action}  {visible(one.line)}{version}"
            f"  {one.detail}"
        )
    if not found:
        typer.echo("nothing was done yet")


Files = tuple[Path | None, Path | None, str | None]
"""Configuration, state folder, database URL, as they were given."""


def _order(
    change: Callable[[RolloutOrders], Callable[..., Rollout]],
    line: str,
    why: str,
    by: str | None,
    files: Files,
    as_json: bool,
) -> None:
    from driftline_cloud.rollout.audit import operator
    from driftline_cloud.rollout.orders import RolloutOrders
    from driftline_shared.host.clock import SystemClock

    with _store(*files) as store:
        name = named_line(store.database, line)
        orders = RolloutOrders(store.database, SystemClock())
        found = change(orders)(name, who=by or operator(), why=why)
        row = _row(store, found, store.holding(name))
    if as_json:
        typer.echo(json.dumps(row, indent=2))
        return
    typer.echo(f"version {row['version']} of line {visible(name)}: {row['state']}")
    if found.restore_to is not None:
        typer.echo(
            f"version {found.restore_to} is released again by the cloud that serves the line: "
            "within two seconds, or at its next start"
        )


def _row(store: RolloutStore, rollout: Rollout, held: dict[int, int]) -> dict[str, Any]:
    return {
        "version": rollout.version,
        "state": str(rollout.state),
        "phase": rollout.phase + 1,
        "num_phases": max(1, len(rollout.plan.phases)),
        "share": rollout.share,
        "num_devices": rollout.num_devices,
        "num_holding": held.get(rollout.version, 0),
        "reason": rollout.reason,
        "round_id": rollout.round_id,
        "restores": rollout.restores,
        "followed_by": rollout.followed_by,
        "begun": _time(rollout.created_unix_s),
        "changed": _time(rollout.changed_unix_s),
    }


def _closer(store: RolloutStore, rollout: Rollout) -> dict[str, Any]:
    from driftline_cloud.rollout.store import what_waits
    from driftline_shared.host.clock import SystemClock

    evidence = store.evidence(rollout)
    return {
        "num_reported": evidence.num_reported,
        "num_bad": evidence.num_bad,
        "waits": what_waits(rollout, evidence, now_unix_s=int(SystemClock().now_s())),
        "shares": [phase.share for phase in rollout.plan.phases],
    }


def _time(unix_s: int) -> str:
    return f"{moment(unix_s)}Z"


@contextmanager
def _store(
    config: Path | None, state: Path | None, database_url: str | None
) -> Iterator[RolloutStore]:
    from driftline_cloud.rollout.store import RolloutStore

    with opened_database(settings_of(config, state, database_url)) as database:
        yield RolloutStore(database)
