"""Names that are made once: of lines and samples, and the id a device keeps for ever."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from driftline_shared.bounds import check_device_id
from driftline_shared.errors import ConfigError, LinkError
from driftline_shared.host.clock import Clock
from driftline_shared.host.durable import sync_folder, write_atomic

RandomBytes = Callable[[int], bytes]
"""Gives n random bytes. The default is the system's: a seeded source would, after a restart, give
an id again that the cloud already knows, and a sample would be lost as a duplicate."""


def new_sample_id(clock: Clock, random_bytes: RandomBytes = os.urandom) -> bytes:
    """16 bytes, ordered by time to the millisecond (UUID version 7, RFC 9562)."""
    milliseconds = int(clock.now_s() * 1000) & ((1 << 48) - 1)
    tail = bytearray(random_bytes(10))
    tail[0] = 0x70 | (tail[0] & 0x0F)
    tail[2] = 0x80 | (tail[2] & 0x3F)
    return milliseconds.to_bytes(6, "big") + bytes(tail)


def line_id(pair: str, base_model: str) -> str:
    """The name of the line of every device that runs `base_model` (a hex digest) of `pair`.

    Store, folders, logs and status use it on both sides.
    """
    return f"{pair}-{base_model[:12]}"


def load_device_id(path: Path, random_bytes: RandomBytes = os.urandom) -> str:
    """The device id kept in the file `path`; made there, durably, the first time.

    The id is written beside the file, synced and linked into place, so a power cut leaves either no
    id or a whole one, and of two processes that start at once both get the same.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{random_bytes(4).hex()}.new")
        write_atomic(draft, f"device-{random_bytes(8).hex()}\n".encode())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass  # another process was first: its id is the device's
        except OSError:
            draft.replace(path)  # a file system without hard links, as on many memory cards
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    return _read_device_id(path)


def _read_device_id(path: Path) -> str:
    with path.open("rb") as file:
        device_id = file.read(256).decode("ascii", errors="replace").strip()
    try:
        check_device_id(device_id)
    except LinkError as error:
        raise ConfigError(
            f"{path} holds no device id: restore it, or remove it to enrol as a new device"
        ) from error
    return device_id
