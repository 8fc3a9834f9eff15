"""`driftline cloud round`: order a round, look at those there were.

`start` asks the cloud that serves; `list` and `show` read its database themselves.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline_cloud.commands.addresses import (
    AddressFlag,
    ConfigFlag,
    JsonFlag,
    StateFlag,
    TimeoutFlag,
    UrlFlag,
    address_of,
    credentials_of,
)
from driftline_cloud.commands.lines import LineFlag, named_line
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_shared.errors import DataError, LinkError, Reason
from driftline_shared.plain_text import visible
from driftline_shared.status import CLOSED_ROUNDS, RoundStatus

if TYPE_CHECKING:
    from driftline_cloud.rounds.round import Round
    from driftline_shared.trust.credentials import Credentials

app = typer.Typer(
    help="Order a round of distillation; look at those there were.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

POLL_S = 0.5
SILENT_S = 60.0
"""Time without an answer after which a cloud counts as gone: under its rounds it may be busy."""

_LIST_EXAMPLES = """
**Examples**

    driftline cloud round list

    driftline cloud round list --state /var/lib/driftline --limit 200 --json
"""

_SHOW_EXAMPLES = """
**Examples**

    driftline cloud round show

    driftline cloud round show 12 --state /var/lib/driftline --json

Exit code 1: there is no such round.
"""

_START_EXAMPLES = """
**Examples**

    driftline cloud round start

    driftline cloud round start --address cloud.example:7443 --wait --json

The round takes what waits now, whatever the triggers say; one line has one open round at a time.
With `rounds.trigger.enabled = false` a cloud starts rounds by order alone. Exit codes: 0 well; 1 no
round was opened (one is open, fewer than two samples wait), it failed under --wait, or no cloud
answers; 2 a flag is wrong.
"""


@app.command(epilog=_START_EXAMPLES)
def start(
    line: LineFlag = "",
    address: AddressFlag = None,
    state: StateFlag = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until the round has ended.")] = False,
    as_json: JsonFlag = False,
    timeout_s: TimeoutFlag = 5.0,
) -> None:
    """Start a round with the samples that wait now."""
    from driftline_shared.rpc.rounds import start_round

    where, shown = address_of(address, state), credentials_of(state)
    round_ = start_round(where, line, timeout_s=timeout_s, credentials=shown)
    if wait:
        typer.echo(f"{round_.round_id} opened with {round_.num_samples} samples", err=True)
        round_ = _ended(where, round_, timeout_s, shown)
    if as_json:
        typer.echo(json.dumps(asdict(round_), indent=2))
    else:
        reason = f": {round_.reason}" if round_.reason else ""
        typer.echo(f"{round_.round_id}, {round_.num_samples} samples, {round_.state}{reason}")
    if round_.state == "failed":
        raise typer.Exit(1)


def _ended(
    address: str, round_: RoundStatus, timeout_s: float, shown: Credentials | None = None
) -> RoundStatus:
    """The round once it is over; says each new state on standard error. LinkError where the cloud
    is silent for `SILENT_S`.
    """
    from driftline_shared.rpc.status import fetch_status

    heard_s = time.monotonic()
    while round_.state not in CLOSED_ROUNDS:
        time.sleep(POLL_S)
        try:
            lines = fetch_status(address, timeout_s=timeout_s, credentials=shown).lines
        except LinkError as error:
            if error.reason is not Reason.UNREACHABLE or time.monotonic() - heard_s > SILENT_S:
                raise
            continue  # a busy cloud answers the next time
        heard_s = time.monotonic()
        newest = [each.round for each in lines if each.round is not None]
        found = next((each for each in newest if each.round_id == round_.round_id), None)
        if found is None:
            raise LinkError(f"the cloud knows a newer round than {round_.round_id}")
        if found.state != round_.state:
            typer.echo(f"{found.round_id} {found.state}", err=True)
        round_ = found
    return round_


@app.command("list", epilog=_LIST_EXAMPLES)
def list_(
    line: LineFlag = "",
    limit: Annotated[int, typer.Option("--limit", help="At most so many.", min=1)] = 20,
    offset: Annotated[int, typer.Option("--offset", help="Leave out the first.", min=0)] = 0,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List rounds, newest first: how they ended and why, bytes, seconds, labels asked for."""
    from driftline_cloud.rounds.ledger import RoundLedger

    with opened_database(settings_of(config, state, database_url)) as database:
        found = RoundLedger(database).newest(named_line(database, line), limit=limit, offset=offset)
    rows = [_row(one) for one in found]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(
            f"{row['number']:>6}  {row['state']:<11}  {row['num_samples']:>5} samples"
            f"  {row['labels_asked'] or 0:>5} labels  {row['update_bytes'] or 0:>8,} bytes"
            f"  {row['duration_s']:>6} s  {visible(row['reason'])}"
        )
    if not rows:
        typer.echo("there was no round yet")


@app.command(epilog=_SHOW_EXAMPLES)
def show(
    number: Annotated[
        int | None, typer.Argument(help="Which; default: the newest.", metavar="NUMBER", min=1)
    ] = None,
    line: LineFlag = "",
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one round with all its numbers."""
    from driftline_cloud.rounds.ledger import RoundLedger

    with opened_database(settings_of(config, state, database_url)) as database:
        ledger, name = RoundLedger(database), named_line(database, line)
        newest = ledger.newest(name)
        skipped = 0 if number is None or not newest else newest[0].number - number
        found = ledger.newest(name, offset=skipped) if skipped >= 0 else []
    if not found or number not in (None, found[0].number):
        raise DataError(
            f"line {visible(name)} has no round {number or 'yet'}",
            fix="`driftline cloud round list` shows those there are.",
        )
    row = _row(found[0]) | {"numbers": dict(sorted(found[0].numbers.items()))}
    if as_json:
        typer.echo(json.dumps(row, indent=2))
        return
    numbers = row.pop("numbers")
    for key, value in (row | numbers).items():
        shown = f"{value:.6g}" if isinstance(value, float) else visible(str(value))
        typer.echo(f"{key:<32}{shown}")


def _row(round_: Round) -> dict[str, Any]:
    """A round as it is listed. `update_bytes`: of the blob, None where nothing was released."""

    def counted(name: str) -> int | None:
        return int(round_.numbers[name]) if name in round_.numbers else None

    return {
        "round_id": round_.id,
        "number": round_.number,
        "state": str(round_.state),
        "trigger": round_.trigger,
        "reason": round_.reason,
        "num_samples": round_.num_samples,
        "labels_asked": counted("labels.asked"),
        "base_version": round_.base_version,
        "target_version": round_.target_version,
        "update_bytes": counted("update.blob_bytes"),
        "begun_unix_s": round_.created_unix_s,
        "duration_s": max(0, round_.changed_unix_s - round_.created_unix_s),
    }
