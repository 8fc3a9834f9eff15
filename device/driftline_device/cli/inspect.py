"""Commands that only look: status, doctor, versions, bytes, logs. They change nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from driftline_device.cli.options import ConfigFlag, JsonFlag, PairFlag, SetFlag, StateFlag, load

app = typer.Typer()

_STATUS_EXAMPLES = """
**Examples**

    driftline device status

    driftline device status --state /var/lib/driftline-device --json

Exit codes: 0 well; 1 no daemon has run on that state folder; 2 a setting is wrong.
"""

_DOCTOR_EXAMPLES = """
**Examples**

    driftline device doctor --config device.toml

    driftline device doctor --json

Changes nothing and may run beside a daemon. Exit codes: 0 no check failed (there may be warnings);
1 a check failed; 2 a flag is wrong. A configuration that does not read is a check that failed.
"""

_VERSIONS_EXAMPLES = """
**Examples**

    driftline device versions

    driftline device versions --state /var/lib/driftline-device --json

Exit codes: 0 well; 1 no daemon has run on that state folder; 2 a setting is wrong.
"""

_BYTES_EXAMPLES = """
**Examples**

    driftline device bytes

    driftline device bytes --state /var/lib/driftline-device --json

Bytes are those of the messages, without what HTTP/2, TCP and TLS put around them. The limit is the
policy's `day_bytes`; it bounds samples. A daemon writes its count down once a minute. Exit codes: 0
well; 1 no daemon has run on that state folder; 2 a setting is wrong.
"""

_LOGS_EXAMPLES = """
**Examples**

    driftline device logs --config device.toml -n 100 --level warning

    driftline device logs --config device.toml --follow

    driftline device logs --config device.toml --json

Reads the file that the setting log.file names, older ones included. --json gives one JSON document
a line. Exit codes: 0 well; 1 there is no such file yet; 2 log.file is not set, or a flag is wrong.
"""


@app.command(epilog=_STATUS_EXAMPLES)
def status(
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """What the device did, runs and waits for, as it wrote down last."""
    settings = load(config, set_, {"state": state})
    from driftline_device.daemon.snapshot import read_snapshot
    from driftline_shared.host.lock import lock_holder

    snapshot = read_snapshot(settings.state)
    show(snapshot | {"running": lock_holder(settings.state) is not None}, as_json=as_json)


@app.command(epilog=_DOCTOR_EXAMPLES)
def doctor(
    state: StateFlag = None,
    pair: PairFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Check configuration, pair, runtime, machine, state and cloud; what to do about each."""
    from driftline_device.doctor.examination import examine
    from driftline_shared.errors import ConfigError
    from driftline_shared.program.checks import fail, show_checks

    try:
        checks = examine(load(config, set_, {"state": state, "pair": pair}))
    except ConfigError as error:
        checks = [fail("configuration", str(error), error.fix)]
    if not show_checks(checks, as_json=as_json):
        raise typer.Exit(1)


@app.command(epilog=_VERSIONS_EXAMPLES)
def versions(
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Adapter versions: held, in force, to fall back to, and those never tried again."""
    settings = load(config, set_, {"state": state})
    from driftline_device.daemon.snapshot import has_run, read_snapshot
    from driftline_device.show.text import describe_versions
    from driftline_device.updates.versions import read_versions

    if not has_run(settings.state):
        read_snapshot(settings.state)  # says so
    found = read_versions(settings.state)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    for line in describe_versions(found):
        typer.echo(line)


@app.command("bytes", epilog=_BYTES_EXAMPLES)
def bytes_(
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """What crossed the network in the last 24 hours, by kind, and the day's limit."""
    import time
    from dataclasses import asdict

    settings = load(config, set_, {"state": state})
    from driftline_device.daemon.snapshot import read_snapshot
    from driftline_device.daemon.spending import read_hours, spent
    from driftline_device.escalation.book import read_tally
    from driftline_device.show.budget import describe_budget, lasts_until
    from driftline_device.show.text import describe_bytes

    snapshot, now_s = read_snapshot(settings.state), time.time()
    limit, budget = int(snapshot.get("day_bytes") or 0), snapshot.get("budget") or {}
    found = spent(read_hours(settings.state), now_s=now_s)
    asked = read_tally(settings.state, now_s=now_s)
    if as_json:
        shown = {
            "day": found.day,
            "hour": found.hour,
            "day_bytes_limit": limit or None,
            "teacher": None if asked is None else asdict(asked),
        }
        if budget:
            shown["budget"] = budget | {"lasts_until_unix_s": lasts_until(budget, now_s=now_s)}
        typer.echo(json.dumps(shown, indent=2))
        return
    lines = describe_bytes(found, limit=limit, asked=asked)
    for line in [*lines, *describe_budget(budget, now_s=now_s)]:
        typer.echo(line)


@app.command(epilog=_LOGS_EXAMPLES)
def logs(
    num: Annotated[int, typer.Option("-n", "--num", help="Newest lines to show.", min=0)] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option("--level", help="Leave out what is less grave."),
    ] = "debug",
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """The newest lines of the daemon's log file, older files included."""
    settings = load(config, set_, {"state": state})
    from driftline_device.show import logs as log_reading
    from driftline_shared.errors import ConfigError, DataError
    from driftline_shared.host.clock import SystemClock

    file = settings.log_file
    if file is None:
        raise ConfigError(
            "log.file is not set, so this device logs to standard error only: set log.file = "
            '"device.log" and start it anew; under systemd: journalctl -u driftline-device'
        )
    if not file.path.exists() and not follow:
        raise DataError(f"{file.path} does not exist: no daemon has logged there yet")

    def write(line: str) -> None:
        colors = typer.get_text_stream("stdout").isatty()
        typer.echo(line if as_json else log_reading.for_people(line, colors=colors))

    end = log_reading.end_of(file.path)
    for line in log_reading.newest_lines(file.path, end=end, keep=file.keep, num=num, level=level):
        write(line)
    if follow:
        try:
            for line in log_reading.follow(file.path, start=end, level=level, clock=SystemClock()):
                write(line)
        except KeyboardInterrupt:
            pass  # the way to end it


def show(snapshot: dict[str, Any], *, as_json: bool) -> None:
    """Print a snapshot for people, or as JSON."""
    if as_json:
        typer.echo(json.dumps(snapshot, indent=2))
        return
    from driftline_device.show.text import describe

    for line in describe(snapshot):
        typer.echo(line)
