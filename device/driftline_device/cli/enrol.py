"""Commands that give this device a name that its cloud can prove: enrol, identity."""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from driftline_device.cli.options import ConfigFlag, JsonFlag, SetFlag, StateFlag, load

app = typer.Typer()

_EXAMPLES = """
**Examples**

    driftline device enrol drift1.MTI3LjAuMC4xOjc0NDM.…

    driftline device enrol drift1.MTI3LjAuMC4xOjc0NDM.… --label porch --wait 600

    ssh operator@cloud driftline cloud enrol-token | driftline device enrol -

    driftline device enrol --file /run/secrets/invitation

The operator of the cloud makes the invitation with `driftline cloud enrol-token`. Whoever lists
this machine's processes sees what stands on a command line: `-` reads it from standard input,
`--file` from a file. With a token in it the device is in at once; without one an operator accepts
it, which `--wait` waits for; the same command may be given again. Exit codes: 0 enrolled; 1 not let
in, or no cloud answers; 2 the invitation or a setting is wrong.
"""

_AGAIN_S = 2.0

_MOST_BYTES = 4_096
"""Of a file or standard input; an invitation has some hundred."""


@app.command(epilog=_EXAMPLES)
def enrol(
    invitation: Annotated[
        str,
        typer.Argument(
            help="What `driftline cloud enrol-token` printed; -: from standard input.",
            metavar="STRING",
        ),
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--file", help="A file that holds it.", metavar="FILE")
    ] = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    label: Annotated[
        str, typer.Option("--label", help="What people call this device; default: its host name.")
    ] = "",
    wait_s: Annotated[
        float, typer.Option("--wait", help="Seconds to wait for an operator.", min=0.0)
    ] = 0.0,
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Seconds to wait for the cloud.", min=0.1)
    ] = 10.0,
    as_json: JsonFlag = False,
) -> None:
    """Make this device's key, and have a cloud certify it."""
    from driftline_device.link.identity import enrol_by
    from driftline_shared.errors import ConfigError
    from driftline_shared.host.durable import error_text
    from driftline_shared.host.lock import state_lock
    from driftline_shared.trust.invitation import read_invitation

    found = read_invitation(_given(invitation, file))
    settings = load(config, set_, {"state": state})
    label = label or platform.node()
    deadline_s = time.monotonic() + wait_s
    try:
        with state_lock(settings.state):  # a daemon would go on under its old name
            while True:
                given = enrol_by(found, settings.state, label=label, timeout_s=timeout_s)
                if given.chain or time.monotonic() >= deadline_s:
                    break
                time.sleep(_AGAIN_S)
    except OSError as error:
        raise ConfigError(
            f"{settings.state} cannot be written: {error_text(error)}",
            fix="Run this as the user of the device's daemon, and make room.",
        ) from error
    told = {
        "identity": given.identity,
        "enrolled": bool(given.chain),
        "cloud": found.address,
    }
    if as_json:
        typer.echo(json.dumps(told))
    elif given.chain:
        typer.echo(f"enrolled as {given.identity} with the cloud at {found.address}")
    else:
        typer.echo(
            f"{given.identity} waits for an operator of {found.address}:\n"
            f"driftline cloud member accept {given.identity[:12]}"
        )
    if not given.chain:
        raise typer.Exit(1)


def _given(invitation: str, file: Path | None) -> str:
    """The invitation, from where it was said to be."""
    from driftline_shared.errors import ConfigError
    from driftline_shared.host.durable import error_text

    if bool(invitation) == (file is not None):
        raise ConfigError(
            "one invitation is needed: as STRING, as - from standard input, or by --file",
            fix="`driftline cloud enrol-token` on the cloud's machine prints one.",
        )
    try:
        if file is not None:
            with file.open("rb") as opened:
                data = opened.read(_MOST_BYTES)
        elif invitation == "-":
            data = sys.stdin.buffer.read(_MOST_BYTES)
        else:
            return invitation
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error_text(error)}", fix="Name a file that holds it."
        ) from error
    return data.decode("utf-8", errors="replace").strip()
