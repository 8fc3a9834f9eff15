"""Writes that survive a kill at any line and a power cut, and reads that bound what they load."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import zlib
from pathlib import Path
from typing import Any

import structlog

MAX_ASIDE = 9
"""Most broken files of one name that are kept beside it; the newest replaces the last of them."""

SEAL = "crc32"
"""Key of a JSON document's own checksum, over the rest of it."""

PASSING = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM,
        errno.EMFILE, errno.ENFILE, errno.ENODEV, errno.ESTALE, errno.EBUSY,
    }
)  # fmt: skip
"""Errors of a disk that can get well without a change of settings: room, rights, a remount."""

_log = structlog.get_logger(__name__)

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


def write_json(path: Path, value: Any, *, durable: bool = True, sealed: bool = False) -> None:
    """`write_atomic` of `value` as one readable JSON document; `sealed`: with its own checksum, so
    that a bit which tips later is seen when it is read.
    """
    if sealed:
        value = {**value, SEAL: _checksum(value)}
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(path, text.encode() + b"\n", durable=durable)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, without its seal; None if there is none. ValueError if it is not a
    JSON object, holds a number that no float can hold, does not match its seal, or is no file.
    """
    data = read_bytes(path, MAX_JSON_BYTES)
    if data is None:
        return None
    try:
        value = json.loads(data, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except (UnicodeDecodeError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no JSON object")
    seal = value.pop(SEAL, None)
    if seal is not None and seal != _checksum(value):
        raise ValueError(f"{path.name} does not match its own checksum")
    return value


def _whole(text: str) -> int:
    value = int(text)
    float(value)  # whoever reads it may divide by it
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def read_bytes(path: Path, max_bytes: int) -> bytes | None:
    """What is in the file `path`; None if there is none. ValueError for more than `max_bytes`, and
    for what is no file: a folder, or a pipe, which would be waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is no file")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"{path.name} is larger than {max_bytes} bytes")
    return data


def _checksum(value: Any) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


# -- what is broken ------------------------------------------------------------------------------


def set_aside(path: Path, why: str) -> Path | None:
    """Rename a broken `path`, file or folder, to `NAME.broken` (`NAME.broken-2`, ...) and say so;
    its new place. None, and a line in the log, where the disk does not let it: it stays.
    """
    names = [f"{path.name}.broken", *(f"{path.name}.broken-{n}" for n in range(2, MAX_ASIDE + 1))]
    places = [path.with_name(name) for name in names]
    aside = next((place for place in places if not os.path.lexists(place)), places[-1])
    try:
        path.replace(aside)
    except OSError as error:
        _log.error("state.broken_stays", path=str(path), why=why, error=error_text(error))
        return None
    _log.error(
        "state.set_aside",
        path=str(path),
        aside=str(aside),
        why=why,
        fix="The device goes on without it; look at the disk, then remove the file set aside.",
    )
    return aside


def clear_way(path: Path, *, folder: bool = False) -> None:
    """Set aside what stands at `path` and is no file (`folder`: no folder), so that one can be."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        set_aside(path, "is no folder" if folder else "is no file")


def error_text(error: OSError) -> str:
    """What the system says, and of which file."""
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"
