"""`driftline lab chaos`: break a whole system in every way, and see whether it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """
**Examples**

    driftline lab chaos --minutes 1

    driftline lab chaos --minutes 30 --seed 7 --json

    driftline lab chaos --seed 7 --schedule

Starts a cloud with its authority, its working process and some devices on loopback, kills them,
fails their disks, clocks, links and certificates in an order that follows from the seed, undoes it
all, and checks that no sample was lost or doubled, every device answers and runs the newest
version, and versions are what their digests say. What is real and what is not: docs/chaos.md. Exit
codes: 0 all held; 1 something did not: what, the log of what was done, and the command that does it
again; 2 a flag is wrong.
"""


def chaos(
    minutes: Annotated[
        float, typer.Option("--minutes", help="How long faults are made.", min=0.05, max=1_440)
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the order of faults.", min=0)] = 0,
    devices: Annotated[
        int, typer.Option("--devices", help="Devices beside the cloud.", min=1, max=20)
    ] = 3,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="A new folder for everything; default: kept if it breaks."),
    ] = None,
    only_schedule: Annotated[
        bool, typer.Option("--schedule", help="Print what would be done, a JSON line each.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON line.")] = False,
) -> None:
    """Break real programs in every way by a seeded schedule, then check invariants."""
    from driftline_lab.chaos.faults import schedule
    from driftline_lab.chaos.run import Plan, run_chaos
    from driftline_shared.errors import ConfigError
    from driftline_shared.program.logs import setup_logs

    setup_logs(level="error")
    if only_schedule:
        for fault in schedule(seed, seconds=60 * minutes, devices=devices):
            typer.echo(json.dumps(fault.row()))
        return
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise ConfigError(f"{keep} is there and not empty", fix="Name a new folder.")
    plan = Plan(seed=seed, seconds=60 * minutes, devices=devices, keep=keep)
    found = run_chaos(plan, report=lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found)
    raise typer.Exit(int(bool(found["broken"])))


def _show(found: dict[str, object]) -> None:
    for what in found["broken"] if isinstance(found["broken"], list) else []:
        typer.echo(f"broken: {what}")
    if found["broken"]:
        typer.echo(f"what was done: {found['log']}\nonce more: {found['command']}")
        return
    typer.echo(
        f"all held: {found['num_faults']} faults, {found['num_starts']} starts of devices, "
        f"{found['num_answers']} answers, {found['num_samples']} samples, "
        f"{found['num_versions']} versions"
    )
    if not found["disk_faults"]:
        typer.echo("without faults of disks: there is no C compiler (cc) here")
