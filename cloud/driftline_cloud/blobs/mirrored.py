"""A store far away with a whole copy of it at hand: the far one is what lasts, the near one serves.

Blobs are written to the far store first, then to the near one, and read from the near one alone;
what is not there, or damaged there, is fetched. So whoever reads needs the far store only for what
this machine has not seen yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from driftline_cloud.blobs.store import MOST_BYTES, BlobDamagedError, BlobStore, StoreAwayError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MirroredStore:
    """`far`, with its copy `near`."""

    near: BlobStore
    far: BlobStore

    @property
    def place(self) -> str:
        """See `BlobStore`."""
        return self.far.place

    def put(self, key: str, content: bytes) -> None:
        """See `BlobStore`."""
        self.far.put(key, content)
        self.near.put(key, content)

    def get(self, key: str, most_bytes: int = MOST_BYTES, *, sha256: bytes = b"") -> bytes | None:
        """See `BlobStore`. Where the near copy is damaged and the far store is away, it is the
        damage that is told.
        """
        damage: BlobDamagedError | None = None
        try:
            found = self.near.get(key, most_bytes, sha256=sha256)
        except BlobDamagedError as error:
            found, damage = None, error
        if found is not None:
            return found
        try:
            found = self.far.get(key, most_bytes, sha256=sha256)
        except StoreAwayError:
            if damage is not None:
                raise damage from None
            raise
        if found is not None:
            self.near.put(key, found)
            if damage is not None:
                _log.warning("blob.healed", key=key, cause=str(damage))
        elif damage is not None:
            raise damage
        return found

    def read(self, key: str, offset: int, num_bytes: int) -> bytes | None:
        """See `BlobStore`."""
        found = self.near.read(key, offset, num_bytes)
        if found is None and self.get(key) is not None:
            found = self.near.read(key, offset, num_bytes)
        return found

    def size(self, key: str) -> int | None:
        """See `BlobStore`."""
        found = self.near.size(key)
        return self.far.size(key) if found is None else found

    def list(self, folder: str = "") -> list[str]:
        """What is at hand; see `release.copies` for what makes it whole."""
        return list(self.near.list(folder))

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        self.far.delete(key)
        self.near.delete(key)

    def within(self, folder: str) -> MirroredStore:
        """See `BlobStore`."""
        return MirroredStore(self.near.within(folder), self.far.within(folder))
