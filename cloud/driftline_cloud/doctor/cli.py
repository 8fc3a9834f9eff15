"""`driftline cloud doctor`: what is wrong with a cloud, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from driftline_cloud.commands.addresses import ConfigFlag, JsonFlag, UrlFlag

app = typer.Typer()

_EXAMPLES = """
**Examples**

    driftline cloud doctor

    driftline cloud doctor --config cloud.toml --json

    driftline cloud doctor --state /var/lib/driftline --pair smol

Changes nothing and may run beside a cloud. Exit codes: 0 no check failed (there may be warnings);
1 a check failed; 2 a flag is wrong. A configuration that does not read is a check that failed.
"""


@app.command(epilog=_EXAMPLES)
def doctor(
    config: ConfigFlag = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="The state folder of the cloud.")
    ] = None,
    pair: Annotated[str | None, typer.Option("--pair", help="The pair it is started with.")] = None,
    database_url: UrlFlag = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting, as key=value; may be repeated.", metavar="KEY=V"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check configuration, state folder, disk, artifact store, pair, authority, signing, port,
    workers, database, leases, rounds and devices; what to do about each.
    """
    from driftline_cloud.config import load_config
    from driftline_cloud.doctor.examination import examine
    from driftline_shared.errors import ConfigError
    from driftline_shared.program.checks import fail, show_checks
    from driftline_shared.program.config import parse_assignment

    given = {"state": state, "pair": pair, "database_url": database_url}
    flags: dict[str, object] = dict(parse_assignment(text) for text in set_ or ())
    flags |= {key: value for key, value in given.items() if value is not None}
    try:
        checks = examine(load_config(config, flags))
    except ConfigError as error:
        checks = [fail("configuration", str(error), error.fix)]
    if not show_checks(checks, as_json=as_json):
        raise typer.Exit(1)
