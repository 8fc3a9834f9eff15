"""Commands that only look: status."""

from __future__ import annotations

import json
from typing import Any

import typer

from driftline_device.cli.options import ConfigFlag, JsonFlag, StateFlag, load

app = typer.Typer()

_STATUS_EXAMPLES = """
**Examples**

    driftline device status

    driftline device status --state /var/lib/driftline-device --json

Exit codes: 0 well; 1 no daemon has run on that state folder; 2 a setting is wrong.
"""


@app.command(epilog=_STATUS_EXAMPLES)
def status(
    state: StateFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """What the device did, runs and waits for, as it wrote down last."""
    settings = load(config, None, {"state": state})
    from driftline_device.snapshot import read_snapshot

    show(read_snapshot(settings.state), as_json=as_json)


def show(snapshot: dict[str, Any], *, as_json: bool) -> None:
    """Print a snapshot for people, or as JSON."""
    if as_json:
        typer.echo(json.dumps(snapshot, indent=2))
        return
    from driftline_device.running import describe

    for line in describe(snapshot):
        typer.echo(line)
