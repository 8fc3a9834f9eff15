"""A picture's file: only regular ones are opened, and no more of them is read than is allowed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from driftline_shared.errors import DataError

MAX_FILE_BYTES = 64 << 20
"""Most bytes of one image file (64 MiB)."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_bytes(path: Path, *, place: str) -> bytes:
    """The whole file; DataError naming `place` if it is missing, too large or no regular file.

    A pipe is never waited for, a device never opened: opening alone can have effects.
    """
    name = shown(path.name)
    try:
        _check_regular(path.stat().st_mode, name, place)
        # The name may mean something else by now: opened so, even a pipe would not hold us up.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(file, "rb") as opened:
            _check_regular(os.fstat(file).st_mode, name, place)
            data = opened.read(MAX_FILE_BYTES + 1) or b""
    except FileNotFoundError:
        raise DataError(f"{place}: image {name} does not exist") from None
    except (OSError, ValueError, MemoryError) as error:  # ValueError: no name of a file
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{place}: image {name} cannot be read ({reason})") from None
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"{place}: {name} is larger than {MAX_FILE_BYTES >> 20} MiB")
    return data


def shown(path: str | Path) -> str:
    """`path` as logs and errors may hold it: what is not printable, bytes that are no UTF-8 among
    it, as escapes.
    """
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(path))


def check_file(path: Path) -> None:
    """DataError unless `path` is a regular file; nothing is opened."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DataError(f"{shown(path)} does not exist") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{shown(path)} cannot be read ({reason})") from None
    if not stat.S_ISREG(mode):
        raise DataError(f"{shown(path)} cannot be read (it is {_kind(mode)}, not a file)")


def _check_regular(mode: int, name: str, place: str) -> None:
    if not stat.S_ISREG(mode):
        raise DataError(f"{place}: image {name} cannot be read (it is {_kind(mode)}, not a file)")


def _kind(mode: int) -> str:
    return next((kind for is_it, kind in _KINDS if is_it(mode)), "no regular file")
