"""Which running cloud a command asks: the flags that say so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AddressFlag = Annotated[
    str | None,
    typer.Option("--address", help="host:port; default: the cloud whose state is --state."),
]
StateFlag = Annotated[
    Path | None, typer.Option("--state", help="State folder of a cloud on this machine.")
]
TimeoutFlag = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait for the cloud.", min=0.1)
]


def address_of(address: str | None, state: Path | None) -> str:
    """`address`, else where the cloud of this machine listens: the port it wrote, else what is
    configured.
    """
    if address:
        return address
    from driftline_cloud.config import load_config
    from driftline_cloud.state import read_port

    settings = load_config(None, {} if state is None else {"state": state})
    host, _, port = settings.listen.rpartition(":")
    if host in ("0.0.0.0", "[::]"):
        host = "127.0.0.1"  # a cloud on every address is on this one, too
    return f"{host}:{read_port(settings.state) or port}"
