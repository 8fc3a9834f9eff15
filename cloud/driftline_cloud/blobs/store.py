"""Named blobs, whole or not there: what a folder and an object store have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from driftline_shared.errors import DataError, DriftlineError, Reason

MOST_BYTES = 8 << 30
"""Most bytes of a blob whose reader knows no tighter bound (8 GiB): a candidate with all of its
importance.
"""

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,255}(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,255}){0,7}")


class StoreAwayError(DriftlineError):
    """A store cannot be reached or does not let us in now: what needs it waits, nothing is lost."""

    reason = Reason.STORE_BUSY


class BlobDamagedError(DataError):
    """A blob is there and is not what was put."""


class BlobStore(Protocol):
    """Blobs by key: names of letters, digits, `.`, `_` and `-`, up to eight of them joined by `/`;
    none begins with a dot. Safe for many readers and one writer of a key.

    Every method may raise StoreAwayError (a folder: OSError) where the store does not answer.
    """

    @property
    def place(self) -> str:
        """What an operator calls it; holds no secret."""

    def put(self, key: str, content: bytes) -> None:
        """Keep `content` durably in place of what was there: readers see the one or the other."""

    def get(self, key: str, most_bytes: int = MOST_BYTES, *, sha256: bytes = b"") -> bytes | None:
        """The whole blob; None if there is none. Raises DataError, before it is read, where it has
        more than `most_bytes`, and BlobDamagedError where it is not what was put, or not of the
        digest `sha256` where that is given.
        """

    def read(self, key: str, offset: int, num_bytes: int) -> bytes | None:
        """At most `num_bytes` from `offset` on, unchecked; empty at the end; None: no blob."""

    def size(self, key: str) -> int | None:
        """Bytes of the blob; None if there is none."""

    def list(self, folder: str = "") -> Sequence[str]:
        """The keys below `folder`, sorted; empty: all."""

    def delete(self, key: str) -> None:
        """Remove the blob; nothing if there is none."""

    def within(self, folder: str) -> BlobStore:
        """The same store as seen from `folder`."""


def check_key(key: str) -> str:
    """`key`; ValueError if it can name no blob."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key[:80]!r} cannot name a blob")
    return key


def too_large(key: str, most_bytes: int) -> DataError:
    """Of a blob that nobody here can have put."""
    return DataError(f"{key} has more than {most_bytes} bytes")
