"""A text file of whole lines that is begun anew when it is full, with a few older ones beside it.

`name`, then `name.1` (the newest of the older ones) to `name.KEEP`. A line is one write: a kill
leaves all of it or none, and what a full disk cut off is taken back.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path


class RotatingFile:
    """Appends lines to `path`: at most `max_bytes`, and `keep` older files; one thread at a time.

    Opened at the first line, and again after an error or where somebody moved or removed the file:
    a place that cannot be written may be written later.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor: int | None = None
        self._num_bytes = 0

    def append(self, line: str) -> None:
        """Write `line`, which has no line break, and one; OSError with nothing of it left."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        descriptor = self._open()
        if self._num_bytes and self._num_bytes + len(data) > self._max_bytes:
            self._rotate()
            descriptor = self._open()
        try:
            written = os.write(descriptor, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._take_back(descriptor)
            raise
        self._num_bytes += written

    def close(self) -> None:
        """Let the file go; a later line opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is not None and not self._is_there(self._descriptor):
            self.close()
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o644)
            self._num_bytes = os.fstat(self._descriptor).st_size
            self._end_line(self._descriptor)
        return self._descriptor

    def _is_there(self, descriptor: int) -> bool:
        """Whether the file still has its name."""
        try:
            named = self._path.stat()
        except OSError:
            return False
        opened = os.fstat(descriptor)
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def _end_line(self, descriptor: int) -> None:
        """What a power cut left of a line gets an end of its own."""
        if self._num_bytes and os.pread(descriptor, 1, self._num_bytes - 1) != b"\n":
            self._num_bytes += os.write(descriptor, b"\n")

    def _rotate(self) -> None:
        self.close()
        for number in range(self._keep, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        if not self._keep:
            self._path.unlink(missing_ok=True)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _take_back(self, descriptor: int) -> None:
        with suppress(OSError):  # else the next line begins with an end of this one
            os.ftruncate(descriptor, self._num_bytes)
        self.close()
