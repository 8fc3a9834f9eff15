"""Commands that leave an operator's request for the daemon: rollback, pause, resume, step."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftline_device.cli.options import ConfigFlag, JsonFlag, SetFlag, StateFlag, load

if TYPE_CHECKING:
    from driftline_device.daemon.state_files import StateFiles

app = typer.Typer()

_ROLLBACK_EXAMPLES = """
**Examples**

    driftline device rollback 7

Leaves version 7 if it is in force and never tries it again; a running daemon does so within
a second, a stopped one at its next start. Exit codes: 0 well; 1 no daemon has run there; 2 a
setting is wrong.
"""

_PAUSE_EXAMPLES = """
**Examples**

    driftline device pause

    driftline device pause --state /var/lib/driftline-device --json

Questions are answered as before; no answer is sampled, no sample leaves, no update is asked for
(one under way is finished). The device stays enrolled. A running daemon follows within a second,
and after every restart until `driftline device resume`. Exit codes: 0 well; 1 no daemon has run
there; 2 a setting is wrong.
"""

_RESUME_EXAMPLES = """
**Examples**

    driftline device resume

Exit codes: 0 well; 1 no daemon has run there; 2 a setting is wrong.
"""


_STEP_EXAMPLES = """
**Examples**

    driftline device run --source day.jsonl --cloud 127.0.0.1:7443 --set step_questions=500

    driftline device step

A device with `step_questions` waits before its first question, after so many, and at the end: its
samples have left, no update is applied. Let go on, it first takes what the cloud has released until
then. Exit codes: 0 well; 1 no daemon waits there; 2 a setting is wrong.
"""


@app.command(epilog=_ROLLBACK_EXAMPLES)
def rollback(
    version: Annotated[int, typer.Argument(help="Version to leave, as `status` shows it.", min=1)],
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Go back to the version before; this one is never tried again."""
    with _state_files(state, config, set_) as state_files:
        state_files.request_rollback(version)
    _say({"leave_version": version}, f"version {version} will be left if it is in force", as_json)


@app.command(epilog=_PAUSE_EXAMPLES)
def pause(
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Only answer: sample nothing, send no sample, take no update, until `resume`."""
    import time

    with _state_files(state, config, set_) as state_files:
        state_files.pause(time.time())
        since = state_files.paused_since()
    _say(
        {"paused_unix_s": since},
        "paused; the device goes on answering",
        as_json,
    )


@app.command(epilog=_RESUME_EXAMPLES)
def resume(
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """End a pause."""
    with _state_files(state, config, set_) as state_files:
        state_files.resume()
    _say({"paused_unix_s": None}, "the device samples, sends and takes updates again", as_json)


@app.command(epilog=_STEP_EXAMPLES)
def step(
    state: StateFlag = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a device that waits at a step go on to the next."""
    from driftline_device.daemon.snapshot import read_snapshot
    from driftline_shared.errors import DataError

    with _state_files(state, config, set_) as state_files:
        snapshot = read_snapshot(load(config, set_, {"state": state}).state)
        number = snapshot.get("step")
        if not isinstance(number, int) or snapshot.get("activity") != "waiting":
            raise DataError(f"the device does not wait at a step: it is {snapshot.get('activity')}")
        state_files.let_go_on(number)
    _say({"step": number}, f"the device goes on from step {number}", as_json)


@contextmanager
def _state_files(
    state: Path | None, config: Path | None, set_: list[str] | None
) -> Iterator[StateFiles]:
    """Of a state folder that a daemon has used: a request in a mistyped folder would be lost. What
    the disk does not take is one sentence.
    """
    settings = load(config, set_, {"state": state})
    from driftline_device.daemon.snapshot import has_run, owner, read_snapshot
    from driftline_device.daemon.state_files import StateFiles
    from driftline_shared.errors import DataError
    from driftline_shared.host.durable import error_text

    if not has_run(settings.state):
        read_snapshot(settings.state)  # says so
    try:
        yield StateFiles(settings.state)
    except OSError as error:
        fixes = {
            errno.ENOSPC: "Make room on that disk and say it again.",
            errno.EDQUOT: "Make room in the quota and say it again.",
            errno.EROFS: "Remount that disk so that it can be written, and say it again.",
        }
        as_owner = (
            f"Say it as the user that the device runs as: sudo -u {owner(settings.state)} ..."
        )
        raise DataError(
            f"the request could not be left in {settings.state}: {error_text(error)}",
            fix=fixes.get(error.errno or 0, as_owner),
        ) from error


def _say(document: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(document) if as_json else text)
