"""One process per state folder: an advisory lock that the kernel lets go when the process ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftline_shared.errors import ConfigError, Reason
from driftline_shared.host.durable import make_folder

TRIES = 5
"""A command that only looks whether somebody holds the lock holds it itself for a moment."""

TRY_PAUSE_S = 0.02


@contextmanager
def state_lock(state: Path, word: str = "state folder") -> Iterator[None]:
    """Hold `state`/lock; ConfigError (state_in_use) naming the process that holds it.

    `word`: what people call the folder.
    """
    try:
        make_folder(state)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"{word} {state} cannot be used: {error.strerror}") from error
    try:
        if not _take(descriptor):
            raise ConfigError(
                f"{word} {state} is in use by process {_read_pid(descriptor) or 'unknown'}",
                reason=Reason.STATE_IN_USE,
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def lock_holder(state: Path) -> int | None:
    """The process that holds `state`/lock now (0 if it left no number), or None; changes nothing.

    The lock is asked for, shared, and let go at once: only the kernel knows whether the number in
    the file is still that of a daemon.
    """
    try:
        descriptor = os.open(state / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _read_pid(descriptor) or 0
    else:
        return None
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    for tries_left in reversed(range(TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if tries_left:
                time.sleep(TRY_PAUSE_S)
    return False


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
    return int(text) if text.isdecimal() else None
