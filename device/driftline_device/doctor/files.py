"""Every file of the state folder, looked at one by one: which are broken, and what that means.

A running daemon sets a broken file aside and goes on; whoever only looks must be told as well.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from driftline_device.daemon.spending import read_spending
from driftline_device.daemon.state_files import to_policy
from driftline_device.updates.journal import read_failures, read_update
from driftline_device.updates.slots import NAMES, read_pointer
from driftline_shared.errors import DriftlineError
from driftline_shared.host.database_reading import open_read_only
from driftline_shared.host.durable import error_text, read_json
from driftline_shared.ids import read_device_id
from driftline_shared.pair.weights import file_headers
from driftline_shared.program.checks import Check, fail, ok, warn

Read = Callable[[Path], object]
"""Reads a file; ValueError or a DriftlineError if it is broken."""

_MAX_NAMED = 20

_HEALS = (
    "The device sets it aside at its next start and goes on without it; look at the disk, and at "
    "the log."
)
_UNREADABLE = "Give it back to the device's user: chown, chmod; or run doctor as that user."


def _policy(path: Path) -> object:
    found = read_json(path)
    if found is not None:
        to_policy(found)
    return found


def _is_file(path: Path) -> object:
    with path.open("rb") as file:
        return file.read(1)


def _history(path: Path) -> object:
    """SQLite's own quick check, on a file that nobody changes by it."""
    with closing(open_read_only(path)) as database:
        verdict = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    if verdict != "ok":
        raise ValueError(verdict)
    return verdict


FILES: dict[str, Read] = {
    "device_id": read_device_id,
    "lock": _is_file,
    "status.json": read_json,
    "policy.json": _policy,
    "sampling.json": read_json,
    "rollback.json": read_json,
    "paused.json": read_json,
    "step.json": read_json,
    "bytes.json": read_spending,
    "allowance.json": read_json,
    "history.sqlite": _history,
    "escalation.sqlite": _history,
    "update.json": read_update,
    "failed.json": read_failures,
    "spool.sqlite": _is_file,
    "link/reports.jsonl": _is_file,
    "slots/current.json": read_pointer,
    **{f"slots/{name}/slot.json": read_json for name in NAMES},
    **{f"slots/{name}/adapter.safetensors": file_headers for name in NAMES},
}
"""By path below the state folder. What is deeper in slots and spool has checks of its own."""

FOLDERS = ("link", "link/downloads", "slots", *(f"slots/{name}" for name in NAMES))

ASIDE = (".broken", ".corrupt")
"""What names of files that were set aside go on with."""


def check_files(state: Path) -> list[Check]:
    """One check for each broken file, one for what was set aside before; one where all is well."""
    if not os.path.lexists(state):
        return [ok("state", f"{state} is not there yet: no device has run")]
    if not state.is_dir():
        return [fail("state", f"{state} is no folder", "Name another with --state, or move it.")]
    found = [check for check in _checks(state) if check is not None]
    if not any(check.verdict == "fail" for check in found):
        num = sum(os.path.lexists(state / name) for name in FILES)
        found.insert(0, ok("state", f"all {num} files in {state} read"))
    return found


def _checks(state: Path) -> Iterator[Check | None]:
    if not os.access(state, os.W_OK | os.X_OK):
        yield warn(
            "state",
            f"{state} cannot be written by this user, or the disk is read-only",
            "The device answers, and forgets at its end what it could not keep: remount the disk, "
            "or run doctor as the device's user.",
        )
    for name in FOLDERS:
        path = state / name
        if os.path.lexists(path) and not path.is_dir():
            yield fail("state", f"{name} is no folder", _HEALS)
    for name, read in FILES.items():
        yield _look(state, name, read)
    aside = sorted(
        str(path.relative_to(state))
        for path in state.rglob("*")
        if any(mark in path.name for mark in ASIDE)
    )
    if aside:
        shown = ", ".join(aside[:_MAX_NAMED])
        yield warn(
            "set aside",
            f"{len(aside)} broken files of before: {shown}",
            "Look at the disk; remove them when nobody wants to look into them.",
        )


def _look(state: Path, name: str, read: Read) -> Check | None:
    path = state / name
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return fail("state", f"{name} is no file", _HEALS)
        if name != "lock" and path.stat().st_size == 0:
            return fail("state", f"{name} is empty: it has no bytes", _HEALS)
        read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return fail("state", f"{name} cannot be read: {error_text(error)}", _UNREADABLE)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        sqlite3.DatabaseError,
        DriftlineError,
    ) as error:
        return fail("state", f"{name} is broken: {_short(error)}", _HEALS)
    return None


def _short(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
