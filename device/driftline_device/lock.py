"""One daemon per state folder: an advisory lock that the kernel lets go when the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftline_device.disk import make_folder
from driftline_shared.errors import ConfigError, Reason


@contextmanager
def state_lock(state: Path) -> Iterator[None]:
    """Hold `state`/lock; ConfigError (state_in_use) naming the process that holds it."""
    try:
        make_folder(state)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"state folder {state} cannot be used: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode("ascii", errors="replace").strip()
            raise ConfigError(
                f"state folder {state} is in use by process {holder or 'unknown'}",
                reason=Reason.STATE_IN_USE,
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
