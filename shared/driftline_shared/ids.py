"""Names that are made once: of lines and samples, and the id a device keeps for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog

from driftline_shared.bounds import check_device_id
from driftline_shared.errors import LinkError
from driftline_shared.host.clock import Clock
from driftline_shared.host.durable import (
    error_text,
    read_bytes,
    set_aside,
    sync_folder,
    write_atomic,
)

_log = structlog.get_logger(__name__)

RandomBytes = Callable[[int], bytes]
"""Gives n random bytes. The default is the system's: a seeded source would, after a restart, give
an id again that the cloud already knows, and a sample would be lost as a duplicate."""


def new_sample_id(clock: Clock, random_bytes: RandomBytes = os.urandom) -> bytes:
    """16 bytes, ordered by time to the millisecond (UUID version 7, RFC 9562)."""
    return sample_id_at(clock.now_s(), random_bytes)


def sample_id_at(unix_s: float, random_bytes: RandomBytes = os.urandom) -> bytes:
    """As `new_sample_id`, for a sample of that moment."""
    milliseconds = int(unix_s * 1000) & ((1 << 48) - 1)
    tail = bytearray(random_bytes(10))
    tail[0] = 0x70 | (tail[0] & 0x0F)
    tail[2] = 0x80 | (tail[2] & 0x3F)
    return milliseconds.to_bytes(6, "big") + bytes(tail)


def line_id(pair: str, base_model: str) -> str:
    """The name of the line of every device that runs `base_model` (a hex digest) of `pair`.

    Store, folders, logs and status use it on both sides.
    """
    return f"{pair}-{base_model[:12]}"


def load_device_id(path: Path, random_bytes: RandomBytes = os.urandom) -> tuple[str, bool]:
    """The device id kept in the file `path`, made there, durably, the first time; and whether it is
    kept. A file that holds none is set aside; one that the disk does not take is logged, and the
    id holds until this process ends.

    The id is written beside the file, synced and linked into place, so a power cut leaves either no
    id or a whole one, and of two processes that start at once both get the same.
    """
    try:
        found = read_device_id(path)
    except ValueError as error:
        set_aside(path, str(error))
        found = None
    except OSError as error:
        _log_not_kept(path, error)
        return _new_id(random_bytes), False
    if found is not None:
        return found, True
    made = _new_id(random_bytes)
    return (read_device_id(path) or made, True) if keep_device_id(path, made) else (made, False)


def keep_device_id(path: Path, device_id: str) -> bool:
    """Keep `device_id` in `path`, unless another is there; whether one is."""
    draft = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
    try:
        write_atomic(draft, f"{device_id}\n".encode())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass  # another process was first: its id is the device's
        except OSError:
            draft.replace(path)  # a file system without hard links, as on many memory cards
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        _log_not_kept(path, error)
        return False
    return True


def read_device_id(path: Path) -> str | None:
    """The id in `path`; None if there is no such file. ValueError if it holds none."""
    data = read_bytes(path, 256)
    if data is None:
        return None
    device_id = data.decode("ascii", errors="replace").strip()
    try:
        check_device_id(device_id)
    except LinkError as error:
        raise ValueError(f"{path.name} holds no device id") from error
    return device_id


def _new_id(random_bytes: RandomBytes) -> str:
    return f"device-{random_bytes(8).hex()}"


def _log_not_kept(path: Path, error: OSError) -> None:
    _log.error(
        "device_id.not_kept",
        path=str(path),
        error=error_text(error),
        fix="Let the device's user read and write there, and make room: it enrols as a new device "
        "at each start until it can keep its name.",
    )
