"""A copy of what a cloud keeps, made while it runs, and a state folder made of one.

    DIR/backup.json     what it is, written last: without it the copy is not whole
        cloud.sqlite    the database as of one moment, by SQLite's own online backup
        identity.json, releases/, rounds/
        trust/          with the issuing key, so keep the copy as you keep that; without the root's

With an artifact store the versions are in the folder, too, and so in the copy; what rounds under
way keep there is not, and backup.json says so.

The turn to write in the releases is held meanwhile, so that no version is published between the
database's moment and the folder's: the two are of one day. Devices are served all the time.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from driftline_cloud.backup.check import database_faults, release_faults
from driftline_cloud.identity import FILE as IDENTITY
from driftline_cloud.trust.authority import FOLDER as TRUST
from driftline_cloud.trust.authority import ROOT
from driftline_shared.errors import DataError, DriftlineError
from driftline_shared.host.durable import make_folder, read_json, sync_folder, write_json
from driftline_shared.host.lock import lock_holder, state_lock, take_turn

DATABASE, WHOLE = "cloud.sqlite", "backup.json"
FOLDERS = ("releases", "rounds", TRUST)
_PAGES = 1_000
"""Copied at once; between two such steps writers of the database have their turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """What was copied."""

    folder: Path
    num_files: int
    num_bytes: int
    not_copied: str = ""


def make_backup(
    state: Path, folder: Path, report: Callable[[float], None], *, artifacts: str = ""
) -> Backup:
    """Copy the cloud of `state` into `folder`, which must be new or empty, and check the copy.

    `artifacts`: the URL of its artifact store, where it has one. `report` is called with the share
    of the database that is copied. Raises DataError for wrong folders, DriftlineError for a copy
    that is not whole.
    """
    if not (state / DATABASE).is_file():
        raise DataError(
            f"{state} holds no {DATABASE}",
            fix="Name the state folder; back up a database of another kind by its own means, "
            "while no cloud runs, together with the state folder.",
        )
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file", fix="Name a folder that is new.")
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty", fix="Name a folder that is new.")
    make_folder(folder)
    with take_turn(state / "releases" / "lock"):
        _copy_database(state / DATABASE, folder / DATABASE, report)
        for name in FOLDERS:
            if (state / name).is_dir():
                shutil.copytree(state / name, folder / name, ignore=_left_out)
    if (state / IDENTITY).exists():  # of before it had one, database and folder get it later
        shutil.copy2(state / IDENTITY, folder / IDENTITY)
    check_backup(folder, must_be_finished=False)
    files = [path for path in folder.rglob("*") if path.is_file()]
    for place in {path.parent for path in files}:
        sync_folder(place)
    done = Backup(
        folder=folder,
        num_files=len(files),
        num_bytes=sum(path.stat().st_size for path in files),
        not_copied=f"{artifacts}/rounds: what rounds under way keep" if artifacts else "",
    )
    described = {
        "driftline": metadata.version("driftline"),
        "made_unix_s": int(time.time()),
        "num_files": done.num_files,
        "num_bytes": done.num_bytes,
        **({"not_copied": done.not_copied} if done.not_copied else {}),
    }
    write_json(folder / WHOLE, described, sealed=True)
    return done


def check_backup(folder: Path, *, must_be_finished: bool = True) -> None:
    """DriftlineError that names what of a copy is not whole."""
    if must_be_finished and (not folder.is_dir() or read_json(folder / WHOLE) is None):
        raise DataError(
            f"{folder} is no backup, or one that was not finished",
            fix=f"Name a folder that `driftline cloud backup` made; it holds {WHOLE}.",
        )
    faults = [*database_faults(folder / DATABASE), *release_faults(folder / "releases")]
    if faults:
        raise DriftlineError(
            f"{folder} is not whole: {'; '.join(faults)}",
            fix="Look at the disk; take another backup.",
        )


def restore(folder: Path, state: Path) -> None:
    """Make the state folder `state`, which must hold no cloud yet, from the backup `folder`.

    Raises DataError for wrong folders, DriftlineError for a backup that is not whole.
    """
    check_backup(folder)
    if lock_holder(state) is not None or any(
        (state / name).exists() for name in (DATABASE, IDENTITY, *FOLDERS)
    ):
        raise DataError(
            f"{state} holds a cloud already",
            fix="Stop it and move its folder away, or restore into a new one.",
        )
    with state_lock(state):
        for name in FOLDERS:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, state / name)
        if (folder / IDENTITY).exists():
            shutil.copy2(folder / IDENTITY, state / IDENTITY)
        # Last: without a database the folder is refused, not taken for a new one.
        shutil.copy2(folder / DATABASE, state / f".{DATABASE}.new")
        (state / f".{DATABASE}.new").replace(state / DATABASE)
        sync_folder(state)


def _copy_database(source: Path, target: Path, report: Callable[[float], None]) -> None:
    try:
        old = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
        new = sqlite3.connect(target)
        try:
            old.backup(
                new,
                pages=_PAGES,
                progress=lambda _status, left, total: report(1.0 - left / max(1, total)),
            )
        finally:
            new.close()
            old.close()
    except sqlite3.DatabaseError as error:
        raise DriftlineError(
            f"{source} cannot be copied: {error}", fix="Look at the disk; restore an older backup."
        ) from error


def _left_out(_folder: str, names: list[str]) -> set[str]:
    return {
        name
        for name in names
        if name.startswith(".") or name in ("lock", f"{ROOT}.key") or _is_root_key(name)
    }


def _is_root_key(name: str) -> bool:
    """Whether it is one of the keys that make a root for updates, and belongs offline."""
    return name.startswith("root-") and name.endswith(".key")
