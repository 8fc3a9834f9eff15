"""Whether what a cloud keeps is whole: its database's pages, the bytes of its releases."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.blobs.store import BlobDamagedError, BlobStore
from driftline_cloud.release.arrays import adapter_of
from driftline_cloud.release.copies import missing_there
from driftline_cloud.release.manifests import manifest_from_json
from driftline_shared.errors import DriftlineError
from driftline_shared.update import adapter_digest

_MOST = 20
"""Faults that are named; a broken disk has many."""


def database_faults(path: Path) -> list[str]:
    """What SQLite finds in the file `path`; empty: nothing. A cloud may run on it meanwhile."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            rows = connection.execute(f"PRAGMA integrity_check({_MOST})").fetchall()
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        return [f"{path.name}: {error}"]
    return [f"{path.name}: {text}" for (text,) in rows if text != "ok"]


def release_faults(releases: Path) -> list[str]:
    """Blobs that are not what they are named, versions whose files are not there or not theirs."""
    faults = []
    for blob in sorted((releases / "blobs").glob("?" * 64)):
        if hashlib.sha256(blob.read_bytes()).hexdigest() != blob.name:
            faults.append(f"blob {blob.name[:12]} has other bytes than its name says")
    for line in sorted((releases / "lines").glob("*/line.json")):
        for manifest in sorted(line.parent.glob("[0-9]*.json")):
            faults += _version_faults(releases, manifest)
    return faults[:_MOST]


def far_faults(releases: Path, far: BlobStore) -> list[str]:
    """What of the versions in the folder `releases` is not in `far`, or is damaged there, and what
    else is damaged there. Reads all of it; StoreAwayError where it is away.
    """
    faults = [f"{key} is not in {far.place}" for key in missing_there(FolderStore(releases), far)]
    for key in far.list():
        try:
            far.get(key)
        except BlobDamagedError as error:
            faults.append(str(error))
    return faults[:_MOST]


def _version_faults(releases: Path, path: Path) -> list[str]:
    name = f"version {path.stem} of line {path.parent.name}"
    try:
        manifest = manifest_from_json(path.read_bytes())
        adapter = adapter_of(FolderStore(path.parent), f"{path.stem}.safetensors")
    except (DriftlineError, ValueError, KeyError) as error:
        return [f"{name}: {error}"]
    faults = []
    if adapter_digest(adapter) != manifest.target_digest:
        faults.append(f"{name}: its adapter is not the one that its manifest names")
    if not (releases / "blobs" / manifest.blob_digest.hex()).is_file():
        faults.append(f"{name}: its blob is gone")
    return faults
