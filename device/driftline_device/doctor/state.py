"""Checks of the state folder: daemon, spool, versions, last update. Nothing is written."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from driftline_device.config import DeviceConfig
from driftline_device.daemon.snapshot import FILE, read_snapshot
from driftline_device.daemon.state_files import to_policy
from driftline_device.spool.schema import read_counts
from driftline_device.updates.versions import read_versions
from driftline_shared.errors import DataError, DriftlineError
from driftline_shared.host.database_reading import open_read_only
from driftline_shared.host.durable import read_json
from driftline_shared.host.lock import lock_holder
from driftline_shared.program.checks import Check, fail, ok, warn
from driftline_shared.tokens import SamplingPolicy

STALE_S = 60.0
"""A running daemon that wrote no status for so long hangs."""


def read_status(state: Path) -> dict[str, Any] | None:
    """The newest status, or None if there is none that reads."""
    try:
        return read_snapshot(state)
    except DataError:
        return None


def read_policy(config: DeviceConfig) -> SamplingPolicy:
    """The policy that a start obeys: the cloud's newest, else the configuration's."""
    try:
        found = read_json(config.state / "policy.json")
        return config.sampling if found is None else to_policy(found)
    except (OSError, ValueError, DriftlineError):
        return config.sampling


def check_daemon(state: Path, status: dict[str, Any] | None) -> Check:
    """Whether a daemon runs on `state`, and whether it is alive or ended in order."""
    pid = lock_holder(state)
    if pid is not None:
        age_s = time.time() - float((status or {}).get("unix_s", 0.0))
        if status is not None and age_s > STALE_S:
            return fail(
                "daemon",
                f"process {pid} holds {state / 'lock'}, but wrote no {FILE} for {age_s:.0f} s",
                "It hangs, or it starts and loads its model: look at its log, restart it.",
            )
        if (status or {}).get("paused_unix_s") is not None:
            return warn(
                "daemon",
                f"process {pid} runs and is paused: it samples, sends and takes nothing",
                "`driftline device resume` ends the pause.",
            )
        return ok("daemon", f"process {pid} runs on {state}")
    if status is None:
        return ok("daemon", f"none has run on {state} yet")
    if status.get("activity") != "stopped":
        return warn(
            "daemon",
            f"none runs; the last one ended while {status.get('activity')}, not in order",
            "Nothing is lost by that; look at its log for why, and start it.",
        )
    return ok("daemon", "none runs; the last one ended in order")


def check_spool(state: Path) -> Check:
    """Whether the spool's file is sound, and how much waits in it."""
    path = state / "spool.sqlite"
    if not path.exists():
        return ok("spool", "empty: no sample was ever kept")
    if not path.is_file():
        return fail("spool", f"{path} is no file", "The daemon sets it aside at its next start.")
    fix = "Nothing to do: the daemon sets a broken file aside at its next start; check the disk."
    try:
        with closing(open_read_only(path)) as database:
            verdict = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
            if verdict != "ok":
                return fail("spool", f"{path} is damaged: {verdict}", fix)
            counts = read_counts(database)
    except sqlite3.OperationalError as error:
        return warn("spool", f"{path} cannot be read now: {error}", "Run doctor once more.")
    except sqlite3.Error as error:
        return fail("spool", f"{path} is damaged: {error}", fix)
    found = f"{counts.get('samples', 0)} samples, {counts.get('bytes', 0)} bytes wait"
    aside = path.with_name(f"{path.name}.corrupt")
    if aside.exists():
        return warn(
            "spool", f"{found}; an earlier file was set aside", f"Check the disk; remove {aside}."
        )
    return ok("spool", found)


def check_versions(state: Path) -> Check:
    """Whether the version in force, and the one to fall back to, are whole on the disk."""
    found = read_versions(state)
    fix = "The daemon falls back by itself at its next start; check the disk."
    broken = [each for each in found.held if each.problem]
    if any(each.version == found.in_force for each in broken) or found.problems:
        what = [f"slot {each.slot} (version {each.version}): {each.problem}" for each in broken]
        return fail("versions", "; ".join([*what, *found.problems]), fix)
    if found.in_force and found.in_force not in [each.version for each in found.held]:
        return fail("versions", f"no slot holds version {found.in_force}, which is in force", fix)
    if any(each.version == found.previous for each in broken):
        return warn("versions", f"version {found.previous}, to fall back to, is broken", fix)
    if not found.in_force:
        return ok("versions", "version 0, the base model")
    return ok("versions", f"version {found.in_force} in force, {found.previous} to fall back to")


def check_update(state: Path) -> Check:
    """How the newest update ended."""
    newest = read_versions(state).newest_update
    if newest is None:
        return ok("update", "none yet")
    found = f"version {newest['target']}: {newest['phase']}"
    if newest["phase"] in ("failed", "rolled_back"):
        return warn(
            "update",
            f"{found} ({newest['reason']})",
            "The device runs the version before; `driftline device versions` says why.",
        )
    return ok("update", found)
