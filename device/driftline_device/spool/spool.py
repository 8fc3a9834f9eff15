"""The Spool protocol: a durable, bounded queue of samples that have not been acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from driftline_shared.tokens import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoolStats:
    """What lies in the spool, and what happened to what does not: counts since it was made."""

    num_samples: int
    num_bytes: int
    num_appended: int
    num_acked: int
    num_refused: int
    num_evicted: int


class Spool(Protocol):
    """Samples wait here until the cloud has them.

    Append is durable on return. A sample leaves only by `ack` (the cloud has it), by `refuse` (the
    cloud will never take it) or by eviction when full: the least informative (lowest
    `priority`) first, the older one on a tie; a newcomer that is itself the least informative is
    the one evicted. Appending a known id changes nothing.
    """

    def append(self, sample: Sample) -> bool:
        """Store `sample` durably; False if it was evicted at once or known already."""

    def peek(
        self, *, max_bytes: int, max_samples: int, after: int = 0
    ) -> Sequence[tuple[int, Sample]]:
        """(sequence, sample) in order of arrival with sequence > `after`, at least one if any is
        left.
        """

    def ack(self, ids: Sequence[bytes]) -> int:
        """Forget the samples the cloud has; how many of them were here."""

    def refuse(self, ids: Sequence[bytes], reason: str) -> int:
        """Forget samples the cloud will never take; they are counted under `reason`."""

    def stats(self) -> SpoolStats:
        """Counts and bytes now."""

    def close(self) -> None:
        """Release file handles; what was appended stays."""
