"""Commands that leave an operator's wish for the daemon: rollback."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline_device.cli.options import ConfigFlag, StateFlag, load

app = typer.Typer()

_ROLLBACK_EXAMPLES = """
**Examples**

    driftline device rollback 7

Leaves version 7 if it is in force and never tries it again; a running daemon does so within
a second, a stopped one at its next start. Exit codes: 0 well; 1 no daemon has run there.
"""


@app.command(epilog=_ROLLBACK_EXAMPLES)
def rollback(
    version: Annotated[int, typer.Argument(help="Version to leave, as `status` shows it.", min=1)],
    state: StateFlag = None,
    config: ConfigFlag = None,
) -> None:
    """Go back to the version before; this one is never tried again."""
    settings = load(config, None, {"state": state})
    from driftline_device.memory import Memory
    from driftline_device.snapshot import read_snapshot

    read_snapshot(settings.state)
    Memory(settings.state).wish_rollback(version)
    typer.echo(f"version {version} will be left if it is in force")
