"""Blobs by content: each under its sha256, served in pieces.

blobs/<sha256 in hex>        written durably before any manifest names it
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.blobs.store import BlobDamagedError, BlobStore
from driftline_shared.errors import Reason, UpdateError

MAX_PIECE_BYTES = 1 << 20

FOLDER = "blobs"


@dataclass(frozen=True, slots=True)
class UpdateBlobs:
    """Immutable blobs in `store`; those that can be made anew are in `near` alone, where `store`
    looks first. Safe for many readers and one writer.

    What devices ask for (`size`, `read`) is looked for near alone: nobody makes the cloud wait for
    a store by asking for what is nowhere.
    """

    store: BlobStore
    near: FolderStore

    def put(self, blob: bytes, *, lasting: bool = True) -> bytes:
        """Keep `blob`; its digest. Keeping it again costs a look. `lasting` false: near alone."""
        digest = hashlib.sha256(blob).digest()
        store = self.store if lasting else self.near
        # What is near says nothing of a store far away.
        if store is not self.near or store.size(_key(digest)) is None:
            store.put(_key(digest), blob)
        return digest

    def get(self, digest: bytes) -> bytes:
        """The whole blob, verified; UpdateError (blob_unknown, digest_mismatch)."""
        try:
            blob = self.store.get(_key(digest), sha256=digest)
        except BlobDamagedError as error:
            raise UpdateError(
                f"a stored blob has rotted: {error}", reason=Reason.DIGEST_MISMATCH
            ) from error
        if blob is None:
            raise _unknown()
        return blob

    def size(self, digest: bytes) -> int:
        """Bytes of the blob; UpdateError (blob_unknown)."""
        size = self.near.size(_key(digest))
        if size is None:
            raise _unknown()
        return size

    def read(self, digest: bytes, offset: int, max_bytes: int = MAX_PIECE_BYTES) -> bytes:
        """At most `max_bytes` (<= 1 MiB) from `offset`; empty at the end; UpdateError beyond it."""
        if not 0 <= offset <= self.size(digest):
            raise UpdateError(
                f"offset {offset} lies outside the blob", reason=Reason.OFFSET_INVALID
            )
        found = self.near.read(_key(digest), offset, min(max_bytes, MAX_PIECE_BYTES))
        if found is None:
            raise _unknown()
        return found

    def keep_only(self, digests: set[bytes]) -> int:
        """Remove every other blob that is near; how many went."""
        removed = 0
        for key in self.near.list(FOLDER):
            name = key.rpartition("/")[2]
            if len(name) == 64 and bytes.fromhex(name) not in digests:
                self.near.delete(key)
                removed += 1
        return removed


def _key(digest: bytes) -> str:
    if len(digest) != hashlib.sha256().digest_size:
        raise _unknown()
    return f"{FOLDER}/{digest.hex()}"


def _unknown() -> UpdateError:
    return UpdateError("no such blob is offered", reason=Reason.BLOB_UNKNOWN)
