"""`driftline cloud cluster`: a Ray cluster for the heavy work, node by node."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_shared.errors import ConfigError
from driftline_shared.program.address import check_address

if TYPE_CHECKING:
    from driftline_cloud.workers.cluster.access import Access
    from driftline_cloud.workers.cluster.node import Size

app = typer.Typer(
    help="A Ray cluster: its head, its nodes, its token.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

TokenFlag = Annotated[
    Path | None,
    typer.Option("--token-file", help="The cluster's token; default: where Ray looks for one."),
]
TlsFlag = Annotated[
    Path | None,
    typer.Option("--tls", help="Folder with ca.crt, tls.crt and tls.key; default: no TLS."),
]
CpusFlag = Annotated[
    int | None,
    typer.Option("--cpus", help="CPUs to work with; default: this machine's.", min=0, max=4096),
]
GpusFlag = Annotated[
    int | None,
    typer.Option("--gpus", help="GPUs to work with; default: those found.", min=0, max=64),
]
StoreFlag = Annotated[
    int,
    typer.Option("--store-mb", help="Shared memory for objects.", min=80, max=1 << 20),
]
WaitFlag = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for the head.", min=0, max=86_400)
]

_PLACES = """
The token is one secret of all nodes and of the cloud: `--token-file` (`workers.ray_token_file` of
the cloud), else RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, `~/.ray/auth_token`, as Ray itself looks. It
is never printed but by `driftline cloud cluster token`.
"""

_UP_EXAMPLES = f"""
**Examples**

    driftline cloud cluster up

    driftline cloud cluster up --listen 10.0.0.5:6379 --cpus 0

    driftline cloud cluster up --token-file /run/secrets/cluster-token --tls tls/

Makes a token where there is none, for this user alone.
{_PLACES}
Whoever has the token runs any code on the nodes: keep them in a network of their own. Runs until
SIGTERM or Ctrl-C. Exit codes: 0 ended by a signal, 1 Ray ended, 2 a flag is wrong.
"""

_JOIN_EXAMPLES = f"""
**Examples**

    driftline cloud cluster join 10.0.0.5:6379

    driftline cloud cluster join 10.0.0.5:6379 --cpus 0

The second one is what a machine needs beside `driftline cloud serve --workers ray`: a node that
offers nothing. Waits `--wait` seconds for the head.
{_PLACES}
Runs until SIGTERM or Ctrl-C. Exit codes: 0 ended by a signal, 1 no head answers or Ray ended, 2 a
flag or the token is wrong.
"""

_CHECK_EXAMPLES = """
**Examples**

    driftline cloud cluster check 10.0.0.5:6379

Exit codes: 0 the head answers and takes this machine's token, 1 it does not answer, 2 the token is
another one.
"""

_TOKEN_EXAMPLES = """
**Examples**

    driftline cloud cluster token

    driftline cloud cluster token --make --token-file cluster-token
"""


@app.callback()
def cluster() -> None:
    """A Ray cluster: its head, its nodes, its token."""


@app.command(epilog=_UP_EXAMPLES)
def up(
    listen: Annotated[
        str, typer.Option("--listen", help="host:port of the head; 0.0.0.0: every address.")
    ] = "127.0.0.1:6379",
    cpus: CpusFlag = None,
    gpus: GpusFlag = None,
    store_mb: StoreFlag = 256,
    token_file: TokenFlag = None,
    tls: TlsFlag = None,
) -> None:
    """Run the head of a cluster, in the foreground."""
    from driftline_cloud.workers.cluster.node import head_command, run_node
    from driftline_cloud.workers.cluster.secret import make_token

    _checked(listen, "--listen")
    access = _access(token_file, tls)
    if make_token(access.token) and access.token.file is not None:
        typer.echo(f"made a token: {access.token.file}")
    command = head_command(listen, _size(cpus, gpus, store_mb))
    run_node(command, access, lambda: typer.echo(f"the head is up at {listen}"))


@app.command(epilog=_JOIN_EXAMPLES)
def join(
    address: Annotated[str, typer.Argument(help="host:port of the head.")],
    cpus: CpusFlag = None,
    gpus: GpusFlag = None,
    store_mb: StoreFlag = 256,
    token_file: TokenFlag = None,
    tls: TlsFlag = None,
    wait_s: WaitFlag = 60.0,
) -> None:
    """Run a node that joins the head at ADDRESS, in the foreground."""
    from driftline_cloud.workers.cluster.node import node_command, run_node

    access = _access(token_file, tls)
    _check(address, access, wait_s)
    command = node_command(address, _size(cpus, gpus, store_mb))
    run_node(command, access, lambda: typer.echo(f"joined {address}"))


@app.command(epilog=_CHECK_EXAMPLES)
def check(
    address: Annotated[str, typer.Argument(help="host:port of the head.")],
    token_file: TokenFlag = None,
    tls: TlsFlag = None,
    wait_s: WaitFlag = 0.0,
) -> None:
    """Say whether the head at ADDRESS answers and takes this machine's token."""
    _check(address, _access(token_file, tls), wait_s)
    typer.echo(f"the cluster at {address} answers")


@app.command(epilog=_TOKEN_EXAMPLES)
def token(
    token_file: TokenFlag = None,
    make: Annotated[bool, typer.Option("--make", help="Make one where there is none.")] = False,
) -> None:
    """Print the token of this machine: a secret."""
    from driftline_cloud.workers.cluster.secret import make_token, read_token, token_place

    place = token_place(token_file)
    if make:
        make_token(place)
    typer.echo(read_token(place))


def _check(address: str, access: Access, wait_s: float) -> None:
    from driftline_cloud.workers.cluster.access import driver_variables, in_force
    from driftline_cloud.workers.cluster.reach import check_token, wait_for_port

    _checked(address, "ADDRESS")
    with in_force(driver_variables(access)):
        wait_for_port(address, within_s=wait_s)
        check_token(address)


def _access(token_file: Path | None, tls: Path | None) -> Access:
    from driftline_cloud.workers.cluster.access import Access
    from driftline_cloud.workers.cluster.secret import token_place

    return Access(token=token_place(token_file), tls=tls)


def _size(cpus: int | None, gpus: int | None, store_mb: int) -> Size:
    from driftline_cloud.workers.cluster.node import Size

    return Size(cpus=cpus, gpus=gpus, object_store_bytes=store_mb << 20)


def _checked(address: str, name: str) -> None:
    try:
        check_address(address)
    except ValueError as error:
        raise ConfigError(
            f"{name} {address!r} {error}", fix="Write it so: 10.0.0.5:6379"
        ) from error
