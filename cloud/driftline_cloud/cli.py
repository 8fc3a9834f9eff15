"""`driftline cloud`: serve a fleet, look at a running cloud, order a round.

Exit codes: 0 well, 1 failed, 2 a flag or setting is wrong.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftline_cloud.commands.addresses import (
    AddressFlag,
    ConfigFlag,
    JsonFlag,
    StateFlag,
    TimeoutFlag,
    UrlFlag,
    address_of,
    credentials_of,
)
from driftline_cloud.commands.cluster_cli import app as cluster_app
from driftline_cloud.commands.database_cli import app as database_app
from driftline_cloud.commands.database_cli import backup_app
from driftline_cloud.commands.group_cli import app as group_app
from driftline_cloud.commands.keys_cli import app as keys_app
from driftline_cloud.commands.line_cli import app as line_app
from driftline_cloud.commands.line_cli import dropped_text, unknown_text
from driftline_cloud.commands.member_cli import app as member_app
from driftline_cloud.commands.page_cli import app as page_app
from driftline_cloud.commands.release_cli import app as release_app
from driftline_cloud.commands.root_cli import app as root_app
from driftline_cloud.commands.round_cli import app as round_app
from driftline_cloud.commands.samples_cli import app as samples_app
from driftline_cloud.commands.top_cli import app as top_app
from driftline_cloud.commands.trust_cli import app as trust_app
from driftline_cloud.doctor.cli import app as doctor_app
from driftline_shared.errors import PairError
from driftline_shared.plain_text import moment, visible
from driftline_shared.program.address import without_password
from driftline_shared.status import DROPPED_LINE, CloudStatus, DevicePage, LineStatus, RolloutStatus

if TYPE_CHECKING:
    from driftline_cloud.config import CloudConfig

app = typer.Typer(
    name="cloud",
    help="Serve a fleet of devices: take samples, distil, release updates.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
app.add_typer(round_app, name="round")
app.add_typer(database_app, name="database")
app.add_typer(backup_app)
app.add_typer(cluster_app, name="cluster")
app.add_typer(samples_app, name="samples")
app.add_typer(doctor_app)
app.add_typer(release_app, name="release")
app.add_typer(line_app, name="line")
app.add_typer(group_app, name="group")
app.add_typer(page_app)
app.add_typer(top_app)
app.add_typer(trust_app)
app.add_typer(root_app)
app.add_typer(member_app, name="member")
app.add_typer(keys_app, name="keys")

_SERVE_EXAMPLES = """
**Examples**

    driftline cloud serve

    driftline cloud init --keep && driftline cloud serve --listen 0.0.0.0:7443

    driftline cloud serve --state /var/lib/driftline --metrics-port 9464

    driftline cloud serve --config cloud.toml --set rounds.trigger.round_samples=128

    driftline cloud serve --trace trace/

    driftline cloud serve --workers ray --print-config

Every setting is also an environment variable: DRIFTLINE_CLOUD_ROUNDS__SEED=7. Flags win over the
environment, the environment over the file. Exit code 2: a setting is wrong; 1: anything else.
"""

_WORK_EXAMPLES = """
**Examples**

    driftline cloud work --state /var/lib/driftline

    driftline cloud work --config cloud.toml --workers ray --ray-address ray-head:6379

    driftline cloud work --state /var/lib/driftline --line boards

It shares the state folder and the database with `driftline cloud serve --no-work`. Exit code 2: a
setting is wrong; 1: anything else.
"""

WorkersFlag = Annotated[
    str | None, typer.Option("--workers", help="local or ray.", metavar="local|ray")
]
RayFlag = Annotated[
    str | None, typer.Option("--ray-address", help="Ray cluster; default: start Ray here.")
]
SetFlag = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, as key=value; may be repeated.", metavar="KEY=V"),
]

_STATUS_EXAMPLES = """
**Examples**

    driftline cloud status

    driftline cloud status --address cloud.example:7443 --json

    driftline cloud status --devices 50 --offset 100

Exit codes: 1 no cloud answers there; 2 what this side shows to a cloud with an authority is broken.
"""


@app.command(epilog=_SERVE_EXAMPLES)
def serve(
    config: ConfigFlag = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder for everything the cloud keeps.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", help="host:port for devices; port 0: any free one.")
    ] = None,
    pair: Annotated[
        str | None, typer.Option("--pair", help="Name of a shipped pair, or a pair folder.")
    ] = None,
    database_url: UrlFlag = None,
    workers: WorkersFlag = None,
    ray_address: RayFlag = None,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", help="Prometheus port; 0: none.")
    ] = None,
    page: Annotated[
        str | None,
        typer.Option("--page", help="host:port of the operator's pages, in a process beside it."),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Record a trace in this folder.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of all rounds.")] = None,
    work: Annotated[
        bool | None,
        typer.Option("--work/--no-work", help="Also drive rounds, in a process beside it."),
    ] = None,
    set_: SetFlag = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print what is in force as JSON, and stop.")
    ] = False,
) -> None:
    """Serve devices until SIGTERM or Ctrl-C; what is under way goes on at the next start.

    Rounds are driven by a process beside it, or with --no-work by `driftline cloud work`.
    """
    flags = {
        "state": state,
        "listen": listen,
        "pair": pair,
        "database_url": database_url,
        "workers.kind": workers,
        "workers.ray_address": ray_address,
        "metrics.port": metrics_port,
        "page.listen": page,
        "trace.folder": trace,
        "rounds.seed": seed,
        "work.beside": work,
    }
    settings = _settings(config, set_, flags)
    if print_config:
        typer.echo(json.dumps(_shown(settings), indent=2))
        return
    from driftline_cloud.service.server import serve as serve_cloud
    from driftline_cloud.service.supervisor import WORK
    from driftline_shared.program.logs import setup_logs

    setup_logs(level=settings.log.level, form=settings.log.form, limit_repeats=True)
    asyncio.run(serve_cloud(settings, work=WORK if settings.work.beside else ()))


@app.command(epilog=_WORK_EXAMPLES)
def work(
    config: ConfigFlag = None,
    state: Annotated[
        Path | None, typer.Option("--state", help="The state folder of the cloud that serves.")
    ] = None,
    database_url: UrlFlag = None,
    workers: WorkersFlag = None,
    ray_address: RayFlag = None,
    line: Annotated[
        list[str] | None,
        typer.Option("--line", help="Only this line; may be repeated. Default: all.", metavar="L"),
    ] = None,
    set_: SetFlag = None,
) -> None:
    """Drive rounds for a cloud that serves with --no-work, until SIGTERM or Ctrl-C.

    Several may run: one works on a line, the others wait and go on when it is gone.
    """
    flags = {
        "state": state,
        "database_url": database_url,
        "workers.kind": workers,
        "workers.ray_address": ray_address,
    }
    settings = _settings(config, set_, flags)
    from driftline_cloud.work.standalone import work_until_stopped
    from driftline_shared.program.logs import setup_logs

    setup_logs(level=settings.log.level, form=settings.log.form, limit_repeats=True)
    raise typer.Exit(work_until_stopped(settings, line or ()))


def _settings(
    file: Path | None, assigned: Sequence[str] | None, flags: Mapping[str, object]
) -> CloudConfig:
    """What is in force: file, environment, `--set`, other flags."""
    from driftline_cloud.config import load_config
    from driftline_shared.program.config import parse_assignment

    overrides: dict[str, object] = dict(parse_assignment(text) for text in assigned or ())
    overrides |= {key: value for key, value in flags.items() if value is not None}
    return load_config(file, overrides)


def _shown(settings: CloudConfig) -> dict[str, object]:
    """Every key with the value in force, without passwords; says which values are the pair's."""
    from driftline_shared.pair.pair import load_draft

    shown = settings.model_dump(mode="json")
    shown["database_url"] = without_password(settings.database_url)
    try:
        named = load_draft(settings.pair).spec.distillation.settings
    except PairError as error:
        typer.echo(f"Without what the pair names for distil: {error}", err=True)
        return shown
    shown["distil"] = settings.distil.of_pair(named).model_dump(mode="json")
    if theirs := settings.distil.named_by(named):
        keys = ", ".join(f"distil.{key}" for key in theirs)
        typer.echo(f"As pair {settings.pair} names them: {keys}", err=True)
    return shown


@app.command(epilog=_STATUS_EXAMPLES)
def status(
    address: AddressFlag = None,
    state: StateFlag = None,
    as_json: JsonFlag = False,
    devices: Annotated[
        int, typer.Option("--devices", help="At most so many of a line.", min=1, max=10_000)
    ] = 100,
    offset: Annotated[
        int, typer.Option("--offset", help="Leave out the first devices.", min=0)
    ] = 0,
    timeout_s: TimeoutFlag = 5.0,
) -> None:
    """Show lines, rounds and devices of a running cloud; what is stuck first."""
    from driftline_shared.rpc.status import fetch_status

    page = DevicePage(num_devices=devices, offset=offset)
    found = fetch_status(
        address_of(address, state),
        timeout_s=timeout_s,
        page=page,
        credentials=credentials_of(state),
    )
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    _show(found)


def _show(found: CloudStatus) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console()
    console.print(f"cloud [bold]{found.cloud_id[:12]}[/]  driftline {found.version}")
    for trouble in found.troubles:
        console.print(f"[bold red]{escape(visible(trouble))}[/]")
    for line in found.lines:
        if line.state == DROPPED_LINE:
            console.print(escape(dropped_text(line)))
        else:
            _show_line(console, line)
    for base in found.unknown_bases:
        console.print(escape(unknown_text(**asdict(base))))


def _rollout_text(rollout: RolloutStatus) -> str:
    far = (
        f"phase {rollout.phase} of {rollout.num_phases}, {rollout.share:.0%}: "
        if rollout.num_phases > 1
        else ""
    )
    return (
        f"version {rollout.version} {rollout.state}, {far}{rollout.num_devices} devices, "
        f"{rollout.num_reported} reported, {rollout.num_bad} did not keep it; {rollout.reason}"
    )


def _show_line(console: object, line: LineStatus) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def shown(text: str) -> str:
        return escape(visible(text))

    assert isinstance(console, Console)
    paused = " (paused)" if line.state == "paused" else ""
    table = Table(title=f"line {line.line}{paused}", title_justify="left", show_header=False)
    table.add_row("newest version", str(line.newest_version))
    if line.rollout is not None:
        table.add_row("rollout", shown(_rollout_text(line.rollout)))
    apart = f", {line.num_quarantined} in quarantine" if line.num_quarantined else ""
    table.add_row("samples", f"{line.num_samples} ({line.num_waiting} waiting{apart})")
    table.add_row("devices", str(max(line.num_devices, len(line.devices))))
    table.add_row("rounds", str(line.num_rounds))
    if line.round is not None:
        now = line.round
        table.add_row("last round", f"{now.round_id}, {now.num_samples} samples")
        # A round of a paused line stands, also while its worker has yet to see that.
        table.add_row("state", now.state if paused else f"{now.state} {now.progress:.0%}")
        table.add_row("reason", shown(now.reason) or "-")
    for worker in line.workers:
        said = f"{worker.state}: {worker.reason}" if worker.reason else worker.state
        seen = moment(worker.last_seen_unix_s)
        table.add_row("worker", shown(f"{worker.owner} {said} ({seen} UTC)"))
    if not line.workers:
        table.add_row("worker", "none: samples wait until `driftline cloud work` runs")
    console.print(table)
    devices = Table("device", "version", "last seen (UTC)", "last report")
    for device in line.devices:
        devices.add_row(
            shown(device.device_id),
            str(device.adapter_version),
            moment(device.last_seen_unix_s),
            shown(device.last_report) or "-",
        )
    console.print(devices if line.devices else "no device has called yet")
    if len(line.devices) < line.num_devices:
        console.print(f"{len(line.devices)} of {line.num_devices} devices; --devices, --offset")
