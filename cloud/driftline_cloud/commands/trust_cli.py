"""`driftline cloud init`, `renew-issuing` and `enrol-token`: the authority, and who is invited.

They read and write the cloud's own folder and database; who serves follows within a second.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from driftline_cloud.commands.addresses import (
    AddressFlag,
    ConfigFlag,
    JsonFlag,
    StateFlag,
    UrlFlag,
    address_of,
)
from driftline_cloud.commands.authority import check_authority
from driftline_cloud.commands.logged import log_order
from driftline_cloud.commands.opened import opened_database, settings_of
from driftline_shared.errors import ConfigError
from driftline_shared.host.durable import error_text
from driftline_shared.plain_text import visible

app = typer.Typer(rich_markup_mode="markdown")
_INIT_EXAMPLES = """
**Examples**

    driftline cloud init

    driftline cloud init --state /var/lib/driftline --name "greenhouse cloud" --json

    driftline cloud init --keep && driftline cloud serve --listen 0.0.0.0:7443

From the next start on the cloud speaks TLS 1.3 with certificates on both sides, and only to whom it
knows, and signs its updates. Move `trust/root.key` and the three keys in `trust/offline` offline:
they are needed to replace the keys that stay here, and for nothing else. Exit code 2: there is an
authority already.
"""

_ISSUING_EXAMPLES = """
**Examples**

    driftline cloud renew-issuing --root-key /media/safe/root.key

    driftline cloud renew-issuing --root-key /media/safe/root.key --distrust --json

Once in two years, or when the issuing key may have been seen by others. What it signed holds until
it ends, a month at most; with --distrust it holds no more: devices ask for another certificate by
themselves, as their keys are known, and operators elsewhere get theirs anew by `driftline cloud
member add`. The cloud takes the key up at its next start; until then, with --distrust, it refuses
this machine's own commands. Exit code 2: the root's key is another's.
"""

_TOKEN_EXAMPLES = """
**Examples**

    driftline cloud enrol-token

    driftline cloud enrol-token --uses 20 --ttl 7d --address cloud.example:7443

    driftline cloud enrol-token --no-token

    driftline cloud enrol-token --address cloud:7443 --out /srv/invitation/device

Give the string to `driftline device enrol`. Without a token in it the device waits until
`driftline cloud member accept`. Exit codes: 1 there is no authority; 2 a setting is wrong.
"""

_UNITS = {"m": 60, "h": 3_600, "d": 86_400}


@app.command(epilog=_INIT_EXAMPLES)
def init(
    state: StateFlag = None,
    config: ConfigFlag = None,
    name: Annotated[
        str, typer.Option("--name", help="What people call this cloud, in its certificates.")
    ] = "driftline",
    keep: Annotated[
        bool, typer.Option("--keep", help="Where there is an authority, all is well already.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make this cloud's authority: from its next start on it knows who calls."""
    from driftline_cloud.config import load_config
    from driftline_cloud.signing.ceremony import make_signing
    from driftline_cloud.signing.files import SigningFiles
    from driftline_cloud.signing.whole import trouble
    from driftline_cloud.trust.authority import (
        FOLDER,
        OPERATOR,
        has_authority,
        make_authority,
        read_authority,
    )
    from driftline_cloud.trust.issuer import LocalIssuer, Role
    from driftline_cloud.trust.operator import OPERATOR_DAYS, make_credentials

    if not 1 <= len(name) <= 40 or name != visible(name):
        raise ConfigError("--name has 1 to 40 signs, all of them visible")
    settings = load_config(config, {} if state is None else {"state": state})
    if keep and has_authority(settings.state):
        fingerprint = read_authority(settings.state).fingerprint
        kept = {"fingerprint": fingerprint, "offline": [], "online": []}
        typer.echo(json.dumps(kept) if as_json else f"authority {fingerprint}, kept as it is")
        return
    if has_authority(settings.state):
        make_authority(settings.state, name=name)  # says that it is there
    # The authority is last, and makes the rest whole: after a kill this is done again. Its folder
    # for the operator is there before it, so that a start fills that.
    (settings.state / FOLDER).mkdir(parents=True, exist_ok=True, mode=0o700)
    (settings.state / FOLDER / OPERATOR).mkdir(exist_ok=True)
    signing = SigningFiles(settings.state)
    if not signing.newest_root() or trouble(signing):  # else a kill came before the authority
        signing = make_signing(
            settings.state, now_s=time.time(), timestamp_days=settings.trust.timestamp_hours / 24
        )
    authority = make_authority(settings.state, name=name)
    issuer = LocalIssuer(authority, days=OPERATOR_DAYS)
    folder = settings.state / FOLDER
    make_credentials(folder / OPERATOR, issuer, Role.OPERATOR)
    root_keys = [str(path) for path in signing.root_keys_here()]
    told = {
        "fingerprint": authority.fingerprint,
        "offline": [str(folder / "root.key"), *root_keys],
        "online": [str(folder / "issuing.key"), str(folder / OPERATOR), str(signing.folder)],
    }
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    typer.echo(f"authority {authority.fingerprint}")
    typer.echo(f"move offline, and keep a copy:  {folder / 'root.key'}")
    typer.echo("move offline, each to another place (2 of the 3 make new keys for updates):")
    for path in root_keys:
        typer.echo(f"  {path}")
    typer.echo(f"stays here, readable by the cloud alone:  {folder / 'issuing.key'}")
    typer.echo(f"stays here, signs updates:  {signing.folder}")
    typer.echo(f"for commands on this machine:  {folder / OPERATOR}")
    typer.echo("Start the cloud anew, then invite devices: driftline cloud enrol-token")


@app.command("renew-issuing", epilog=_ISSUING_EXAMPLES)
def renew_issuing_(
    root_key: Annotated[
        Path, typer.Option("--root-key", help="The root's key, from offline.", metavar="FILE")
    ],
    distrust: Annotated[
        bool, typer.Option("--distrust", help="What the key before signed holds no more.")
    ] = False,
    state: StateFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Make another issuing key for this cloud's authority; the root stays."""
    from driftline_cloud.trust.authority import renew_issuing
    from driftline_cloud.trust.operator import mend_operator

    settings = settings_of(config, state)
    check_authority(settings)
    authority = renew_issuing(settings.state, root_key, distrust=distrust)
    # Without --distrust those that are there hold, also before the cloud starts anew. After a kill
    # here the next start of the cloud makes them.
    mend_operator(settings.state, authority)
    ends = authority.issuing.not_valid_after_utc
    log_order(settings, "renew issuing key", "distrust the one before" if distrust else "")
    if as_json:
        told = {
            "ends": f"{ends:%Y-%m-%d}",
            "distrusted": distrust,
            "earlier": len(authority.before),
        }
        typer.echo(json.dumps(told))
        return
    before = "holds no more" if distrust else "holds until it ends"
    typer.echo(f"a new issuing key, until {ends:%Y-%m-%d}; what the one before signed {before}")
    typer.echo("Start the cloud anew, and take the root's key back offline.")


@app.command("enrol-token", epilog=_TOKEN_EXAMPLES)
def enrol_token(
    uses: Annotated[
        int, typer.Option("--uses", help="Devices that it lets in.", min=1, max=100_000)
    ] = 1,
    ttl: Annotated[
        str, typer.Option("--ttl", help="How long it holds: 30m, 1h, 7d.", metavar="TIME")
    ] = "1h",
    label: Annotated[
        str, typer.Option("--label", help="What people call its devices that name none.")
    ] = "",
    with_token: Annotated[
        bool, typer.Option("--token/--no-token", help="Without: an operator accepts each device.")
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write it into this file (mode 600), and print nothing."),
    ] = None,
    address: AddressFlag = None,
    state: StateFlag = None,
    config: ConfigFlag = None,
    database_url: UrlFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Print an invitation: one string with the cloud's address, its fingerprint and a token."""
    from driftline_cloud.trust.authority import read_authority
    from driftline_cloud.trust.tokens import EnrolTokens
    from driftline_shared.trust.invitation import Invitation

    ttl_s = _seconds(ttl)
    settings = settings_of(config, state, database_url)
    check_authority(settings)
    authority = read_authority(settings.state)
    where = address_of(address, settings.state)
    token, now_s = "", int(time.time())
    if with_token:
        with opened_database(settings) as database:
            token = EnrolTokens(database).make(
                uses=uses, ttl_s=ttl_s, label=visible(label)[:64], now_unix_s=now_s
            )
    text = Invitation(address=where, root=authority.fingerprint, token=token).text()
    if out is not None:
        try:
            _write_private(out, f"{text}\n".encode())
        except OSError as error:
            raise ConfigError(
                f"{out} cannot be written: {error_text(error)}", fix="Name another file."
            ) from error
        return
    if as_json:
        told = {"invitation": text, "address": where, "fingerprint": authority.fingerprint}
        if token:
            told |= {"uses": str(uses), "expires_unix_s": str(now_s + ttl_s)}
        typer.echo(json.dumps(told, indent=2))
        return
    typer.echo(text)


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)  # with whatever mode it had
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _seconds(text: str) -> int:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdigit() or not 0 < int(number[:9]) * _UNITS[unit] <= 3e7:
        raise ConfigError(f"--ttl {text!r}: write 30m, 1h or 7d, a year at most")
    return int(number) * _UNITS[unit]
