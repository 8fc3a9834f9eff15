"""Writes that survive a kill at any line and a power cut, and reads that bound what they load."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 4 << 20
"""Most bytes of a state file (4 MiB): ours are a few kilobytes."""


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace `path` by `data`: a reader sees the old bytes or the new ones, never a mix.

    Order: draft beside it, fsync, rename, fsync of the folder, which is made if need be.
    `durable=False` leaves both fsyncs out, for files that are only looked at (a status), to spare
    the flash.
    """
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    draft.replace(path)
    if durable:
        sync_folder(path.parent)


def remove_drafts(folder: Path) -> int:
    """Remove what a kill left of unfinished writes anywhere under `folder`; how many there were.

    Up to 0.1.0 the cloud named its drafts `*.part`.
    """
    drafts = [*folder.rglob(".*.new"), *folder.rglob("*.part")]
    for draft in drafts:
        draft.unlink(missing_ok=True)
    return len(drafts)


def sync_folder(folder: Path) -> None:
    """Make renames and removals inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create `folder` and its parents durably; nothing if it is there."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """`write_atomic` of `value` as one readable JSON document."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(path, text.encode() + b"\n", durable=durable)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None if there is none. ValueError if it is not a JSON object."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_JSON_BYTES} bytes")
    try:
        value = json.loads(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    return value
