"""Where a distillation keeps its state between two steps; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from driftline_shared.host.durable import write_atomic

_log = structlog.get_logger(__name__)

EVERY_S = 10.0
"""Seconds between two checkpoints, where nobody says otherwise."""


class Checkpoints(Protocol):
    """One place for the newest state of one distillation."""

    @property
    def every_s(self) -> float:
        """Seconds of training between two checkpoints."""

    def load(self, most_bytes: int) -> bytes | None:
        """What was kept last; None where there is nothing, or more than `most_bytes`."""

    def save(self, content: bytes) -> None:
        """Keep `content` in place of what was kept. Never raises for want of room."""


@dataclass(frozen=True, kw_only=True)
class FileCheckpoints:
    """A file, whole or not there."""

    path: Path
    every_s: float = EVERY_S

    def load(self, most_bytes: int) -> bytes | None:
        """See `Checkpoints`."""
        try:
            with self.path.open("rb") as file:
                content = file.read(most_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("checkpoint.ignored", cause=str(error))
            return None
        if len(content) > most_bytes:
            _log.warning("checkpoint.ignored", cause=f"it has more than {most_bytes} bytes")
            return None
        return content

    def save(self, content: bytes) -> None:
        """See `Checkpoints`."""
        try:
            write_atomic(self.path, content)
        except OSError as error:
            # Without it a lost process costs more, and nothing else.
            _log.warning("checkpoint.not_kept", cause=str(error))

    def drop(self) -> None:
        """Remove it: the training has ended."""
        self.path.unlink(missing_ok=True)
