"""`driftline cloud keys`: the keys that sign updates; see docs/trust.md.

They read and write the cloud's own folder; who serves follows within a second.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline_cloud.commands.addresses import ConfigFlag, JsonFlag, StateFlag
from driftline_cloud.commands.logged import log_order
from driftline_shared.errors import ConfigError
from driftline_shared.plain_text import moment

if TYPE_CHECKING:
    from driftline_cloud.config import CloudConfig

app = typer.Typer(
    help="The keys that sign updates: show, init, export-root, rotate, renew, replace.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

RootKeysFlag = Annotated[
    Path,
    typer.Option("--root-keys", help="A folder with two of the root's keys.", metavar="FOLDER"),
]

_EXAMPLES = """
**Examples**

    driftline cloud keys {word}

    driftline cloud keys {word} --state /var/lib/driftline --json

Exit code 1: there are none, or their files are not whole.
"""

_EXPORT_EXAMPLES = """
**Examples**

    driftline cloud keys export-root --out update_root.json

    driftline cloud keys export-root --out ./my-pair/update_root.json --state /var/lib/driftline

`driftline models export PAIR --update-root FILE` puts it into an export; in the folder of a pair it
is called update_root.json. Devices that run such a pair believe updates of this cloud alone, before
they were enrolled, too. Devices follow later roots by themselves. Exit code 1: there is none.
"""

_ROOT_EXAMPLES = """
**Examples**

    driftline cloud keys {word} --root-keys /media/safe

    driftline cloud keys {word} --root-keys /media/safe --state /var/lib/driftline --json

The folder holds two of the three keys that `driftline cloud init` made, brought together for this.
{more} Exit code 2: keys are missing, or are others.
"""

_REPLACE_EXAMPLES = """
**Examples**

    driftline cloud keys replace 1f0c22aa --root-keys /media/safe --out /media/new/root-1.key

`keys show` lists the ids. The other two keys sign; the new one goes to where the old one was kept.
Devices follow when they next ask. Exit code 2: keys are missing, or there is no such id.
"""


@app.command(epilog=_EXAMPLES.format(word="show"))
def show(
    state: StateFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Show roots, roles and lines: their keys, versions and ends, and which keys lie here."""
    from driftline_cloud.signing.shown import shown

    found = shown(_settings(config, state).state)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for row in found["roles"]:
        keys = " ".join(key[:12] for key in row["keys"])
        ends = f"{moment(row['ends_unix_s'])}Z"
        typer.echo(f"{row['role']:<24}version {row['version']:<12}until {ends}  {keys}")
    for path in found["root_keys_here"]:
        typer.echo(f"move offline: {path}")


@app.command("export-root", epilog=_EXPORT_EXAMPLES)
def export_root(
    out: Annotated[Path, typer.Option("--out", help="The file to write.", metavar="FILE")],
    state: StateFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the root in force to a file, for pairs that go to devices: it holds no secret."""
    from driftline_cloud.signing.ceremony import newest_root
    from driftline_shared.host.durable import write_atomic

    number, data = newest_root(_settings(config, state).state)
    write_atomic(out, data)
    if as_json:
        typer.echo(json.dumps({"root": number, "file": str(out)}, indent=2))
    else:
        typer.echo(f"wrote root {number} to {out}")


@app.command(epilog=_EXAMPLES.format(word="init"))
def init(
    state: StateFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Make keys for a cloud that has an authority of before updates were signed."""
    from driftline_cloud.signing.ceremony import make_signing
    from driftline_cloud.trust.authority import has_authority

    settings = _settings(config, state)
    if not has_authority(settings.state):
        raise ConfigError(
            f"the cloud in {settings.state} has no authority",
            fix="`driftline cloud init` makes both.",
        )
    files = make_signing(settings.state, now_s=time.time(), timestamp_days=_days(settings))
    here = [str(path) for path in files.root_keys_here()]
    log_order(settings, "make keys of updates")
    _tell({"offline": here, "online": [str(files.folder)]}, as_json)


@app.command(
    epilog=_ROOT_EXAMPLES.format(
        word="rotate",
        more="Devices that have the new root forget whatever the old keys signed, however high its "
        "version.",
    )
)
def rotate(
    root_keys: RootKeysFlag,
    state: StateFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Replace every key that signs online: after one was stolen or lost, or once a year."""
    from driftline_cloud.signing import ceremony

    settings = _settings(config, state)
    number = ceremony.rotate(
        settings.state, root_keys, now_s=time.time(), timestamp_days=_days(settings)
    )
    log_order(settings, "rotate keys", f"root {number}")
    _tell({"root": number}, as_json)


@app.command(
    epilog=_ROOT_EXAMPLES.format(
        word="renew", more="`driftline cloud keys show` says when it ends."
    )
)
def renew(
    root_keys: RootKeysFlag,
    state: StateFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Let the root hold for two more years."""
    from driftline_cloud.signing import ceremony

    settings = _settings(config, state)
    number = ceremony.renew(settings.state, root_keys, now_s=time.time())
    log_order(settings, "renew root of updates", f"root {number}")
    _tell({"root": number}, as_json)


@app.command(epilog=_REPLACE_EXAMPLES)
def replace(
    key: Annotated[str, typer.Argument(help="The first digits of its id.", metavar="KEY")],
    root_keys: RootKeysFlag,
    out: Annotated[Path, typer.Option("--out", help="A new file for the new key.", metavar="FILE")],
    state: StateFlag = None,
    config: ConfigFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Replace one of the root's keys that was lost or stolen."""
    from driftline_cloud.signing import ceremony

    settings = _settings(config, state)
    number, fresh = ceremony.replace_root_key(
        settings.state, root_keys, key, out, now_s=time.time()
    )
    log_order(settings, "replace root key", f"root {number}: {fresh} for {key}")
    _tell({"root": number, "key": fresh, "offline": [str(out)]}, as_json)
    if not as_json:
        typer.echo(f"the key {key}… signs nothing any more: a file of it can be deleted")


def _settings(config: Path | None, state: Path | None) -> CloudConfig:
    """Keys are there before a cloud was ever served."""
    from driftline_cloud.config import load_config

    return load_config(config, {} if state is None else {"state": state})


def _days(settings: CloudConfig) -> float:
    return settings.trust.timestamp_hours / 24


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(told, indent=2))
        return
    if "root" in told:
        typer.echo(f"root {told['root']} is in force; devices take it when they next ask")
    if "key" in told:
        typer.echo(f"new root key {told['key']}")
    for path in told.get("online", ()):
        typer.echo(f"stays here, signs updates:  {path}")
    for path in told.get("offline", ()):
        typer.echo(f"move offline:  {path}")
