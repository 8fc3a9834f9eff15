"""One JSON line per answer, for whoever draws the course of a run.

Truth stays out of it: only whether it matched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from driftline_shared.errors import ConfigError


class EventLog:
    """Appends rows to `path`, each flushed as a whole; None writes nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._file: IO[str] | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("a", encoding="utf-8")
            except OSError as error:
                raise ConfigError(f"events: {path} cannot be written: {error.strerror}") from error

    def write(self, **row: Any) -> None:
        """Append one row."""
        if self._file is not None:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()

    def close(self) -> None:
        """End."""
        if self._file is not None:
            self._file.close()
