"""The Spool protocol: a durable, bounded queue of samples that have not been acknowledged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from driftline_shared.tokens import Sample
from driftline_shared.wire import EncodedSample


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoolStats:
    """What lies in the spool, and what happened to what does not: counts since it was made.

    `num_quarantined`: stored rows that did not decode. `num_failed`: appends that the disk did not
    take, since this process opened the spool.
    """

    num_samples: int
    num_bytes: int
    num_appended: int
    num_acked: int
    num_refused: int
    num_evicted: int
    num_quarantined: int = 0
    num_failed: int = 0
    refused_by_reason: dict[str, int] = field(default_factory=dict)


def rank(sample: Sample) -> float:
    """What eviction orders by: the priority, or 0 where it is not a number."""
    return 0.0 if math.isnan(sample.priority) else sample.priority


class Spool(Protocol):
    """Samples wait here until the cloud has them.

    Append is durable on return. A sample leaves only by `ack` (the cloud has it), by `refuse` (the
    cloud will never take it) or by eviction when full: the least informative (lowest
    `priority`) first, the older one on a tie; a newcomer that is itself the least informative is
    the one evicted. Appending a known id changes nothing.
    """

    def append(self, sample: EncodedSample) -> bool:
        """Store `sample` durably; False if it was known already or is not here now.

        It is not here if it was evicted at once or if the disk took no more; the latter is logged
        and counted, and the device goes on.
        """

    def peek(
        self, *, max_bytes: int, max_samples: int, after: int = 0
    ) -> Sequence[tuple[int, EncodedSample]]:
        """(sequence, sample) in order of arrival with sequence > `after`, at least one if any is
        left. Each sample's `body` is what `append` stored, checked to decode.
        """

    def find(self, ids: Sequence[bytes]) -> Sequence[tuple[int, EncodedSample]]:
        """(sequence, sample) of those of `ids` that are here, in order of arrival."""

    def ack(self, ids: Sequence[bytes]) -> int:
        """Forget the samples the cloud has; how many of them were here."""

    def refuse(self, ids: Sequence[bytes], reason: str) -> int:
        """Forget samples the cloud will never take; they are counted under `reason`."""

    def stats(self) -> SpoolStats:
        """Counts and bytes now."""

    def close(self) -> None:
        """Release file handles; what was appended stays."""
