"""`driftline cloud top`: a running cloud, live in a terminal."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_cloud.commands.addresses import (
    AddressFlag,
    StateFlag,
    TimeoutFlag,
    address_of,
    credentials_of,
)
from driftline_shared.errors import LinkError

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(rich_markup_mode="markdown")

MOST_DEVICES = 1_000
"""Devices of a line that are looked at, the stuck ones first."""

_EXAMPLES = """
**Examples**

    driftline cloud top

    driftline cloud top --address cloud.example:7443 --interval 5

    driftline cloud top --once --json

Ctrl-C ends it. With --json each look is one line. Exit code 1: no cloud answers there at the first
look; later ones say so and go on.
"""


@app.command(epilog=_EXAMPLES)
def top(
    address: AddressFlag = None,
    state: StateFlag = None,
    once: Annotated[bool, typer.Option("--once", help="One look, and stop.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", help="Seconds between two looks.", min=0.2, max=3600)
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a look.")] = False,
    timeout_s: TimeoutFlag = 5.0,
) -> None:
    """Watch lines, rounds, workers and stuck devices of a running cloud."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from driftline_cloud.commands.top import frame
    from driftline_shared.rpc.status import fetch_status
    from driftline_shared.status import DevicePage

    where, shown = address_of(address, state), credentials_of(state)
    page = DevicePage(num_devices=MOST_DEVICES)

    def look() -> RenderableType:
        found = fetch_status(where, timeout_s=timeout_s, page=page, credentials=shown)
        if as_json:
            return json.dumps(asdict(found))
        return frame(found, now_s=time.time(), address=where)

    console = Console()
    first = look()
    if once or as_json:
        while True:
            if as_json:
                typer.echo(first)
            else:
                console.print(first)
            if once:
                return
            time.sleep(interval)
            first = look()
    with Live(first, console=console, screen=console.is_terminal, auto_refresh=False) as live:
        while True:
            try:
                time.sleep(interval)
                live.update(look(), refresh=True)
            except LinkError as error:
                live.update(Text(f"{error}; it is asked again", style="red"), refresh=True)
            except KeyboardInterrupt:
                return
