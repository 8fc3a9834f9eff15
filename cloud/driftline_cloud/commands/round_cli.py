"""`driftline cloud round`: order a round."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer

from driftline_cloud.commands.addresses import AddressFlag, StateFlag, TimeoutFlag, address_of
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import CLOSED_ROUNDS, RoundStatus

app = typer.Typer(
    help="Order a round of distillation.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

POLL_S = 0.5
SILENT_S = 60.0
"""Time without an answer after which a cloud counts as gone: under its rounds it may be busy."""

_START_EXAMPLES = """
**Examples**

    driftline cloud round start

    driftline cloud round start --address cloud.example:7443 --wait --json

The round takes what waits now, whatever the triggers say; one line has one open round at a time.
With `rounds.trigger.enabled = false` a cloud starts rounds by order alone. Exit codes: 0 well; 1 no
round was opened (one is open, fewer than two samples wait), it failed under --wait, or no cloud
answers; 2 a flag is wrong.
"""


@app.callback()
def rounds() -> None:
    """Order a round of distillation."""


@app.command(epilog=_START_EXAMPLES)
def start(
    line: Annotated[
        str, typer.Option("--line", help="Name of the line; default: the cloud's only one.")
    ] = "",
    address: AddressFlag = None,
    state: StateFlag = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until the round has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    timeout_s: TimeoutFlag = 5.0,
) -> None:
    """Start a round with the samples that wait now."""
    from driftline_shared.rpc.rounds import start_round

    where = address_of(address, state)
    round_ = start_round(where, line, timeout_s=timeout_s)
    if wait:
        typer.echo(f"{round_.round_id} opened with {round_.num_samples} samples", err=True)
        round_ = _ended(where, round_, timeout_s)
    if as_json:
        typer.echo(json.dumps(asdict(round_), indent=2))
    else:
        reason = f": {round_.reason}" if round_.reason else ""
        typer.echo(f"{round_.round_id}, {round_.num_samples} samples, {round_.state}{reason}")
    if round_.state == "failed":
        raise typer.Exit(1)


def _ended(address: str, round_: RoundStatus, timeout_s: float) -> RoundStatus:
    """The round once it is over; says each new state on standard error. LinkError where the cloud
    is silent for `SILENT_S`.
    """
    from driftline_shared.rpc.status import fetch_status

    heard_s = time.monotonic()
    while round_.state not in CLOSED_ROUNDS:
        time.sleep(POLL_S)
        try:
            lines = fetch_status(address, timeout_s=timeout_s).lines
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
