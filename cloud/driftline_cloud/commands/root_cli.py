"""`driftline cloud renew-root`: the authority's root is rolled over, and devices stay in touch."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_cloud.commands.addresses import ConfigFlag, JsonFlag, StateFlag, UrlFlag
from driftline_cloud.commands.authority import check_authority
from driftline_cloud.commands.logged import log_order
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_shared.errors import ConfigError, DataError

if TYPE_CHECKING:
    from driftline_cloud.config import CloudConfig
    from driftline_cloud.trust.members import Member

app = typer.Typer(rich_markup_mode="markdown")

_EXAMPLES = """
**Examples**

    driftline cloud renew-root --out /media/safe/authority-root-2.key

    driftline cloud renew-root --json

    driftline cloud renew-root --finish

`--out` makes another root beside the old one, whose key is not needed and may be lost; start the
cloud anew. Each device that renews its certificate then trusts both, which takes two thirds of
`trust.certificate_days`; without a flag this says who has yet to come. `--finish` ends the old
root; start the cloud anew. A device that did not come enrols anew after that. Operators and readers
on other machines get theirs again by `driftline cloud member add`. Exit codes: 1 somebody has yet
to come (`--force` ends it all the same); 2 a flag is wrong, or no root is being rolled over.
"""


@app.command("renew-root", epilog=_EXAMPLES)
def renew_root(
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Begin: a new file for the new root's key.", metavar="FILE"),
    ] = None,
    finish: Annotated[bool, typer.Option("--finish", help="Trust the old root no more.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also where devices have yet to come.")
    ] = False,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Roll over this cloud's root: begin, see who has yet to come, finish."""
    from driftline_cloud.trust.authority import read_authority
    from driftline_cloud.trust.rollover import served_since

    if out is not None and finish:
        raise ConfigError("--out begins and --finish ends it: give one of them")
    settings = settings_of(config, state, database_url)
    check_authority(settings)
    if out is not None:
        _begin(settings, out, as_json)
        return
    if read_authority(settings.state).next_root is None:
        raise ConfigError("no root is being rolled over", fix="`--out FILE` begins it.")
    left = _yet_to_come(settings, served_since(settings.state))
    if finish:
        _finish(settings, left, force=force, as_json=as_json)
        return
    if as_json:
        typer.echo(json.dumps({"yet_to_come": [asdict(one) for one in left]}, indent=2))
        return
    for one in left:
        typer.echo(f"{one.identity}  {one.label}")
    told = f"have yet to come: {len(left)}" if left else "all have both roots: --finish"
    typer.echo(told)


def _begin(settings: CloudConfig, out: Path, as_json: bool) -> None:
    from driftline_cloud.trust.authority import FOLDER, OPERATOR
    from driftline_cloud.trust.rollover import begin
    from driftline_shared.trust.certificates import fingerprint
    from driftline_shared.trust.credentials import (
        has_credentials,
        keep_credentials,
        read_credentials,
    )

    authority = begin(settings.state, out)
    own = settings.state / FOLDER / OPERATOR
    if has_credentials(own):  # the cloud that runs takes the chain of before yet
        chain = read_credentials(own).chain
        keep_credentials(own, chain=chain, roots=authority.roots_pem, address="")
    assert authority.next_root is not None
    found = fingerprint(authority.next_root)
    log_order(settings, "begin new root", found)
    if as_json:
        typer.echo(json.dumps({"fingerprint": found, "offline": [str(out)]}, indent=2))
        return
    typer.echo(f"new root {found}, beside the old one")
    typer.echo(f"move offline, and keep a copy:  {out}")
    typer.echo("Start the cloud anew; `driftline cloud renew-root` says who has yet to come.")


def _finish(settings: CloudConfig, left: list[Member], *, force: bool, as_json: bool) -> None:
    from driftline_cloud.trust.authority import FOLDER, OPERATOR
    from driftline_cloud.trust.issuer import LocalIssuer, Role
    from driftline_cloud.trust.operator import OPERATOR_DAYS, make_credentials
    from driftline_cloud.trust.rollover import finish

    if left and not force:
        raise DataError(
            f"{len(left)} devices know the old root alone, {left[0].identity[:12]} for one: they "
            "would have to be enrolled anew",
            fix="Wait until they have: `driftline cloud renew-root` lists them. Or give --force.",
        )
    authority = finish(settings.state)
    issuer = LocalIssuer(authority, days=OPERATOR_DAYS)
    make_credentials(settings.state / FOLDER / OPERATOR, issuer, Role.OPERATOR)
    log_order(settings, "end old root", f"{len(left)} devices had yet to come" if left else "")
    if as_json:
        typer.echo(json.dumps({"fingerprint": authority.fingerprint, "left": len(left)}))
        return
    typer.echo(f"root {authority.fingerprint}, alone. Start the cloud anew.")
    typer.echo("Operators and readers elsewhere get theirs again: driftline cloud member add")


def _yet_to_come(settings: CloudConfig, since_unix_s: float) -> list[Member]:
    from driftline_cloud.trust.members import Members
    from driftline_cloud.trust.rollover import yet_to_come

    with opened_database(settings) as database:
        return yet_to_come(
            Members(database).listed(),
            since_unix_s=since_unix_s,
            days=settings.trust.certificate_days,
            now_unix_s=time.time(),
        )
