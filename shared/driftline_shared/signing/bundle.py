"""Signed metadata (TUF) as it travels: what a device holds of it, what a cloud sends of it.

Every role's versions come from one counter of the cloud, so a version names one file, and a device
is sent just those that it does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_METADATA_BYTES = 64 << 10
"""Of one file; with 100 lines the largest has some 40 KB."""

MAX_SIGNED_BYTES = 256 << 10
"""Of all that one reply brings, once decompressed."""

MAX_PACKED_BYTES = 128 << 10
"""Of the same as it travels."""

MAX_ROOTS = 16
"""Of the roots that one reply brings; the next reply brings those after them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedState:
    """Versions of the metadata that a device holds; 0: none. `line`: of its line's role."""

    root: int = 0
    timestamp: int = 0
    snapshot: int = 0
    targets: int = 0
    line: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedBundle:
    """Files of metadata as they were signed; empty: the device holds it. `line`: the device's line
    at the cloud, whose role `line_targets` is of. `roots` rise by one each.
    """

    line: str
    roots: tuple[bytes, ...] = ()
    timestamp: bytes = b""
    snapshot: bytes = b""
    targets: bytes = b""
    line_targets: bytes = b""

    def files(self) -> Iterator[bytes]:
        """All that are there."""
        yield from self.roots
        yield from filter(None, (self.timestamp, self.snapshot, self.targets, self.line_targets))
