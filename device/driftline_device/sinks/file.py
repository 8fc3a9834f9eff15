"""Events as JSON lines in a file that is rotated."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from driftline_device.sinks.courier import Taken, UndeliveredError
from driftline_device.sinks.event import Event
from driftline_shared.host.appended import AppendedFile


class File:
    """The `Transport` that appends to `path`."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self._path = path
        self._failed = False
        self._file = AppendedFile(path, max_bytes=max_bytes, keep=keep)

    def start(self, wake: Callable[[], None]) -> None:
        """See `Transport`."""

    def tend(self) -> None:
        """A disk that was full has room again, for more than a line."""
        if self._failed and not self._file.has_room:
            raise UndeliveredError(f"{self._path}: {os.strerror(errno.ENOSPC)}")

    def deliver(self, events: Sequence[Event], taken: Taken) -> None:
        """See `Transport`."""
        for event in events:
            try:
                self._file.append(json.dumps(event.body))
            except OSError as error:
                self._failed = error.errno == errno.ENOSPC
                raise UndeliveredError(f"{self._path}: {error.strerror or error}") from error
            self._failed = False
            taken(event)

    def close(self) -> None:
        """See `Transport`."""
        self._file.close()
