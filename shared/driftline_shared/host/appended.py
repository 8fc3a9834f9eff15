"""A file that lines are added to, at a place that an owner names: begun anew when it is full, with
a few older ones beside it.

`name`, then `name.1` (the newest of the older ones) to `name.KEEP`. A line is one write: a kill
leaves all of it or none, and what a full disk cut off is taken back. What stands there and is no
file (a folder, a pipe, which would be waited for, a device) is refused unopened; whatever is wrong
with a place, it is tried again at the next line.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

MOUNTS = ("/media", "/run/media", "/mnt")
"""Below these a folder that is missing is a disk that is not mounted."""


ROOM_BYTES = 64 << 10
"""A disk with less counts as full still."""


class AppendedFile:
    """Appends lines to `path`: at most `max_bytes`, and `keep` older files; one thread at a time.

    Opened at the first line, and again after an error or where somebody moved or removed the file:
    a place that cannot be written may be written later. Of its folders only the last is made where
    it is missing: beyond it, a disk is not there, and the one below must not be filled instead.
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

    @property
    def has_room(self) -> bool:
        """Whether the disk takes more than a few lines: one may still fit where the next does not.
        Asked after an error, before it is said that all is well.
        """
        try:
            found = os.statvfs(self._path.parent)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize >= ROOM_BYTES

    def close(self) -> None:
        """Let the file go; a later line opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is not None and not self._is_there(self._descriptor):
            self.close()
        if self._descriptor is None:
            self._make_folder()
            with suppress(FileNotFoundError):
                _check_is_file(self._path.stat().st_mode)
            # A pipe that came since is not waited for.
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o644)
            try:
                found = os.fstat(descriptor)
                _check_is_file(found.st_mode)
                self._num_bytes = found.st_size
                self._end_line(descriptor)
            except OSError:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
        return self._descriptor

    def _make_folder(self) -> None:
        folder = self._path.parent
        if folder.is_dir():
            return
        above = folder.absolute().parent
        if str(above) in MOUNTS or str(above.parent) in MOUNTS[:2]:
            raise OSError(errno.ENOENT, f"{folder} is not there: is the disk mounted?")
        try:
            folder.mkdir(exist_ok=True)
        except FileNotFoundError as error:
            raise OSError(errno.ENOENT, f"{above} is not there: is the disk mounted?") from error

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


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def _check_is_file(mode: int) -> None:
    if not stat.S_ISREG(mode):
        found = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"it is {found}, not a file")
