"""`driftline cloud samples`: look at stored samples, and decide over those in quarantine.

The commands read and write the cloud's database itself, so they show nothing to whoever can only
reach its port; a cloud may run meanwhile.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from driftline_cloud.commands.addresses import ConfigFlag, JsonFlag, StateFlag, UrlFlag
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_shared.errors import DataError
from driftline_shared.plain_text import visible

app = typer.Typer(
    help="Look at stored samples; drop or release those in quarantine.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

IdsArgument = Annotated[
    list[str] | None, typer.Argument(help="Ids, as `list` shows them.", metavar="ID...")
]
AllFlag = Annotated[bool, typer.Option("--all", help="Everything in quarantine.")]

_LIST_EXAMPLES = """
**Examples**

    driftline cloud samples list --quarantined

    driftline cloud samples list --state /var/lib/driftline --limit 1000 --offset 2000 --json
"""

_SHOW_EXAMPLES = """
**Examples**

    driftline cloud samples show 0193f0c2a1b27c3d9e4f5a6b7c8d9e0f

    driftline cloud samples show 0193f0c2a1b27c3d9e4f5a6b7c8d9e0f --json
"""

_LEAVE_EXAMPLES = """
**Examples**

    driftline cloud samples {word} 0193f0c2a1b27c3d9e4f5a6b7c8d9e0f

    driftline cloud samples {word} --all --json
"""


@app.command("list", epilog=_LIST_EXAMPLES)
def list_(
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Only those in quarantine, with the reason.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1)] = 100,
    offset: Annotated[int, typer.Option("--offset", help="Leave out the first.", min=0)] = 0,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List samples, newest first."""
    from driftline_cloud.commands.samples_list import SampleListing

    with opened_database(settings_of(config, state, database_url)) as database:
        found = SampleListing(database).newest(quarantined=quarantined, limit=limit, offset=offset)
    rows = [_row(asdict(one)) for one in found]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        why = f"  {row['reason']}: {visible(row['detail'])}" if row["reason"] else ""
        typer.echo(f"{row['id']}  {row['state']:<11}  {visible(row['device_id'])}{why}")
    if not rows:
        typer.echo("no sample is in quarantine" if quarantined else "no sample is stored")


@app.command(epilog=_SHOW_EXAMPLES)
def show(
    sample_id: Annotated[str, typer.Argument(help="As `list` shows it.", metavar="ID")],
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what is known about one sample; its picture's tokens are counted, not shown."""
    from driftline_cloud.commands.samples_list import SampleListing

    with opened_database(settings_of(config, state, database_url)) as database:
        found = SampleListing(database).show(_id(sample_id))
    if found is None:
        raise DataError(f"no sample has the id {visible(sample_id)}", fix="`list` shows the ids.")
    row = _row(asdict(found))
    if as_json:
        typer.echo(json.dumps(row, indent=2))
        return
    for name, value in row.items():
        typer.echo(f"{name:<20}{visible(str(value))}")


@app.command(epilog=_LEAVE_EXAMPLES.format(word="drop"))
def drop(
    ids: IdsArgument = None,
    every: AllFlag = False,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Forget the bytes of samples in quarantine; their ids stay known, so none comes again."""
    _decide("dropped", ids, every, state, config, database_url, as_json)


@app.command(epilog=_LEAVE_EXAMPLES.format(word="release"))
def release(
    ids: IdsArgument = None,
    every: AllFlag = False,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Let samples in quarantine wait for a round again."""
    _decide("released", ids, every, state, config, database_url, as_json)


def _decide(
    word: str,
    ids: list[str] | None,
    every: bool,
    state: Path | None,
    config: Path | None,
    database_url: str | None,
    as_json: bool,
) -> None:
    from driftline_cloud.intake.quarantine import Quarantine

    if bool(ids) is every:
        raise typer.BadParameter("give ids, or --all")
    wanted = [_id(one) for one in ids or ()]
    with opened_database(settings_of(config, state, database_url)) as database:
        quarantine = Quarantine(database)
        if every:
            wanted = quarantine.ids()
        decide = quarantine.drop if word == "dropped" else quarantine.release
        count = decide(wanted)
    if as_json:
        typer.echo(json.dumps({word: count, "asked": len(wanted)}))
    else:
        typer.echo(f"{count} of {len(wanted)} samples {word}")
    if count < len(wanted):
        raise typer.Exit(1)


def _id(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 16:
        raise typer.BadParameter(f"{visible(text)[:64]!r} is no id: 32 hex digits are")
    return found


def _row(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: one.hex() if isinstance(one, bytes) else one for key, one in fields.items()}
