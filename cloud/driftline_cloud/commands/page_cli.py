"""`driftline cloud page`: the operator's pages."""

from __future__ import annotations

from typing import Annotated

import typer

from driftline_cloud.commands.addresses import ConfigFlag, StateFlag, UrlFlag
from driftline_cloud.commands.opened import settings_of

app = typer.Typer(rich_markup_mode="markdown")

LISTEN = "127.0.0.1:8090"

_EXAMPLES = """
**Examples**

    driftline cloud page --state /var/lib/driftline

    driftline cloud page --state /var/lib/driftline --listen 127.0.0.1:0

    curl -s 'http://127.0.0.1:8090/devices?search=cam&format=json'

    driftline cloud page --state /var/lib/driftline --orders --private

It reads the database alone and changes nothing: whether the cloud serves, works or is down, it
shows what is there. With `--orders` an operator who signs in with the key in `page.key` of the
state folder (mode 600, made at the first start) pauses lines, approves, promotes or stops versions,
lets devices in and shuts them out; who signs in with the key in `page-reader.key` looks, and is
refused orders. With `--private` nobody looks who did not sign in; programs show a key by a header:
`curl -H "Authorization: Bearer KEY" ...`. From another machine: `ssh -L 8090:127.0.0.1:8090 HOST`.
Exit code 2: a flag or setting is wrong; 1: there is no database, or anything else.
"""


@app.command(epilog=_EXAMPLES)
def page(
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    listen: Annotated[
        str | None, typer.Option("--listen", help=f"host:port; default {LISTEN}; port 0: any.")
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="A name that a proxy in front answers for; may be repeated."),
    ] = None,
    orders: Annotated[
        bool | None,
        typer.Option("--orders/--no-orders", help="Let who has the key give orders."),
    ] = None,
    private: Annotated[
        bool | None,
        typer.Option("--private/--public", help="Looking asks to sign in, too."),
    ] = None,
) -> None:
    """Show lines, rounds, versions, devices and quarantine in a browser, until Ctrl-C."""
    from pydantic import ValidationError

    from driftline_cloud.page.orders.key import NAMES, page_keys
    from driftline_cloud.page.program import halt_on_signals, show_pages
    from driftline_cloud.page.settings import PageSettings
    from driftline_cloud.trust.issuer import Role
    from driftline_shared.errors import ConfigError
    from driftline_shared.program.logs import setup_logs
    from driftline_shared.program.section import in_words

    settings = settings_of(config, state, database_url)
    shown = settings.page
    try:
        wanted = PageSettings(
            listen=listen or shown.listen or LISTEN,
            hosts=tuple(host or shown.hosts),
            orders=shown.orders if orders is None else orders,
            private=shown.private if private is None else private,
            refresh_s=shown.refresh_s,
        )
    except ValidationError as error:
        raise ConfigError(
            f"--listen: {in_words(error.errors()[0])}", fix="Write it so: --listen 127.0.0.1:8090"
        ) from None
    setup_logs(level=settings.log.level, form=settings.log.form, limit_repeats=True)
    keys = page_keys(settings.state) if wanted.signs else {}

    def ready(address: str) -> None:
        typer.echo(f"the pages are at {address}")
        if wanted.orders:
            key = settings.state / NAMES[Role.OPERATOR]
            typer.echo(f"orders are given after signing in with the key in {key}")
        if wanted.private:
            key = settings.state / NAMES[Role.READER]
            typer.echo(f"looking asks to sign in: with the key in {key}")

    show_pages(settings.database, wanted, halt_on_signals(), keys=keys, ready=ready)
