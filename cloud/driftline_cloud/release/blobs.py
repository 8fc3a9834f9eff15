"""Blobs by content: one file per sha256, served in pieces.

<folder>/<sha256 in hex>        written durably before any manifest names it
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from driftline_shared.errors import Reason, UpdateError
from driftline_shared.host.durable import write_atomic

MAX_PIECE_BYTES = 1 << 20


class BlobStore:
    """Immutable blobs in `folder`; safe for many readers and one writer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, blob: bytes) -> bytes:
        """Keep `blob`; its digest. Keeping it again costs a look."""
        digest = hashlib.sha256(blob).digest()
        path = self._path(digest)
        if not path.exists():
            write_atomic(path, blob)
        return digest

    def get(self, digest: bytes) -> bytes:
        """The whole blob, verified; UpdateError (blob_unknown, digest_mismatch)."""
        try:
            blob = self._path(digest).read_bytes()
        except FileNotFoundError as error:
            raise _unknown() from error
        if hashlib.sha256(blob).digest() != digest:
            raise UpdateError("a stored blob has rotted", reason=Reason.DIGEST_MISMATCH)
        return blob

    def size(self, digest: bytes) -> int:
        """Bytes of the blob; UpdateError (blob_unknown)."""
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError as error:
            raise _unknown() from error

    def read(self, digest: bytes, offset: int, max_bytes: int = MAX_PIECE_BYTES) -> bytes:
        """At most `max_bytes` (<= 1 MiB) from `offset`; empty at the end; UpdateError beyond it."""
        if not 0 <= offset <= self.size(digest):
            raise UpdateError(
                f"offset {offset} lies outside the blob", reason=Reason.OFFSET_INVALID
            )
        try:
            with self._path(digest).open("rb") as file:
                file.seek(offset)
                return file.read(min(max_bytes, MAX_PIECE_BYTES))
        except FileNotFoundError as error:
            raise _unknown() from error

    def keep_only(self, digests: set[bytes]) -> int:
        """Remove every other blob; how many went."""
        removed = 0
        for path in self._folder.glob("?" * 64):
            if bytes.fromhex(path.name) not in digests:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def _path(self, digest: bytes) -> Path:
        if len(digest) != hashlib.sha256().digest_size:
            raise _unknown()
        return self._folder / digest.hex()


def _unknown() -> UpdateError:
    return UpdateError("no such blob is offered", reason=Reason.BLOB_UNKNOWN)
