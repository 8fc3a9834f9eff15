"""Events as JSON lines in a file that is rotated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from driftline_device.sinks.courier import Taken, UndeliveredError
from driftline_device.sinks.event import Event
from driftline_device.sinks.rotating import RotatingFile


class File:
    """The `Transport` that appends to `path`."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self._path = path
        self._file = RotatingFile(path, max_bytes=max_bytes, keep=keep)

    def start(self, wake: Callable[[], None]) -> None:
        """See `Transport`."""

    def tend(self) -> None:
        """See `Transport`."""

    def deliver(self, events: Sequence[Event], taken: Taken) -> None:
        """See `Transport`."""
        for event in events:
            try:
                self._file.append(json.dumps(event.body))
            except OSError as error:
                raise UndeliveredError(f"{self._path}: {error.strerror or error}") from error
            taken(event)

    def close(self) -> None:
        """See `Transport`."""
        self._file.close()
