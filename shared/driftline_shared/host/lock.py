"""One process per state folder: an advisory lock that the kernel lets go when the process ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from driftline_shared.errors import ConfigError, Reason
from driftline_shared.host.durable import PASSING, clear_way, error_text, make_folder

TRIES = 5
"""A command that only looks whether somebody holds the lock holds it itself for a moment."""

TRY_PAUSE_S = 0.02

_log = structlog.get_logger(__name__)


@contextmanager
def state_lock(
    state: Path, word: str = "state folder", *, must_write: bool = True
) -> Iterator[None]:
    """Hold `state`/lock; ConfigError (state_in_use) naming the process that holds it.

    `word`: what people call the folder. `must_write` false: on a disk that cannot be written now,
    the folder itself is locked instead, or nothing where there is none, with a line in the log.
    """
    descriptor = _open(state, word, must_write)
    try:
        if descriptor is not None and not _take(descriptor):
            raise ConfigError(
                f"{word} {state} is in use by process {_read_pid(descriptor) or 'unknown'}",
                reason=Reason.STATE_IN_USE,
            )
        if descriptor is not None:
            with suppress(OSError):  # on a full disk it is held without a number
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def take_turn(path: Path) -> Iterator[None]:
    """Wait for the turn at the file `path`, made if need be, among threads and processes; a process
    that ends gives its turn back. Not for a thread that has the turn already.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(state: Path, word: str, must_write: bool) -> int | None:
    """What is locked: the file, or the folder where no file can be made; None: nothing can be."""
    try:
        make_folder(state)
        clear_way(state / "lock")
        return os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if must_write or error.errno not in PASSING:
            raise ConfigError(
                f"{word} {state} cannot be used: {error.strerror}",
                fix="Name a folder that this user may write, or change its owner.",
            ) from error
        _log.error(
            "state.not_writable",
            path=str(state),
            error=error_text(error),
            fix="Make room there, or let the device's user write there: it answers meanwhile, and "
            "forgets at its end what it could not keep.",
        )
    for place in (state / "lock", state):
        with suppress(OSError):
            return os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return None


def lock_holder(state: Path) -> int | None:
    """The process that holds `state`/lock now (0 if it left no number), or None; changes nothing.

    The lock is asked for, shared, and let go at once: only the kernel knows whether the number in
    the file is still that of a daemon.
    """
    for place in (state / "lock", state):
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            break
        except OSError:
            continue
    else:
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
    try:
        text = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip()
    except OSError:  # a folder is what is locked
        return None
    return int(text) if text.isdecimal() else None
