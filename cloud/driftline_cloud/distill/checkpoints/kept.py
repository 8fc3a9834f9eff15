"""Where a distillation keeps its state between two steps; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import structlog

from driftline_cloud.blobs.store import BlobStore, StoreAwayError
from driftline_shared.errors import DataError

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
class StoredCheckpoints:
    """A blob in `store`, whole or not there."""

    store: BlobStore
    key: str
    every_s: float = EVERY_S

    def load(self, most_bytes: int) -> bytes | None:
        """See `Checkpoints`."""
        try:
            return self.store.get(self.key, most_bytes)
        except (OSError, DataError) as error:
            _log.warning("checkpoint.ignored", cause=str(error))
            return None

    def save(self, content: bytes) -> None:
        """See `Checkpoints`."""
        try:
            self.store.put(self.key, content)
        except (OSError, StoreAwayError) as error:
            # Without it a lost process costs more, and nothing else.
            _log.warning("checkpoint.not_kept", cause=str(error))

    def drop(self) -> None:
        """Remove it: the training has ended."""
        try:
            self.store.delete(self.key)
        except (OSError, StoreAwayError) as error:
            # It goes with what else the round kept.
            _log.warning("checkpoint.not_dropped", cause=str(error))
