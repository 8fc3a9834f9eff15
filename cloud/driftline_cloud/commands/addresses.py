"""Which cloud a command asks or opens: the flags that say so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_shared.errors import ConfigError, LinkError
from driftline_shared.host.lock import lock_holder
from driftline_shared.program.address import check_address, own_host

if TYPE_CHECKING:
    from driftline_shared.trust.credentials import Credentials

AddressFlag = Annotated[
    str | None,
    typer.Option("--address", help="host:port; default: the cloud whose state is --state."),
]
StateFlag = Annotated[
    Path | None, typer.Option("--state", help="State folder of a cloud on this machine.")
]
ConfigFlag = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.")]
UrlFlag = Annotated[
    str | None, typer.Option("--database-url", help="SQL URL; default: SQLite in --state.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON document.")]
TimeoutFlag = Annotated[
    float, typer.Option("--timeout", help="Seconds to wait for the cloud.", min=0.1)
]


def credentials_of(state: Path | None) -> Credentials | None:
    """What a command shows to a cloud; None: nothing. ConfigError where it is broken."""
    from driftline_cloud.config import load_config
    from driftline_cloud.trust.operator import operator_credentials

    settings = load_config(None, {} if state is None else {"state": state})
    return operator_credentials(settings.state, insecure=settings.trust.insecure)


def _was_left(state: Path) -> bool:
    """Whether the cloud on `state` was killed: its port is there, nobody holds its lock."""
    return (state / "lock").is_file() and lock_holder(state) is None


def address_of(address: str | None, state: Path | None) -> str:
    """`address`, else where the cloud of this machine listens: the port it wrote, else what is
    configured.

    Raises ConfigError for what is no address, and LinkError for a `state` that was named and on
    which no cloud runs: an order must not go to another one.
    """
    if address:
        try:
            return check_address(address)
        except ValueError as error:
            raise ConfigError(
                f"--address {address!r} {error}", fix="Write it so: --address 127.0.0.1:7443"
            ) from error
    from driftline_cloud.config import load_config
    from driftline_cloud.state import read_port

    settings = load_config(None, {} if state is None else {"state": state})
    host, _, port = settings.listen.rpartition(":")
    host = own_host(host)
    written = read_port(settings.state)
    if state is not None and (written is None or _was_left(state)):
        raise LinkError(
            f"no cloud runs on {state}",
            fix="Start it, or name the folder that it was started with, or --address.",
        )
    return f"{host}:{written or port}"
