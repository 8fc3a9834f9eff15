"""Samples that the disk does not take just now: held in memory, bounded, until it does."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from driftline_device.spool.spool import rank
from driftline_shared.wire import EncodedSample

MAX_BYTES = 16 << 20
"""Most bytes of samples that wait in memory (16 MiB), whatever the spool on disk may hold."""

FIRST_SEQUENCE = 1 << 48
"""Sequences here are beyond any of the database: what waits on disk is older and goes first."""


@dataclass(frozen=True, slots=True)
class _Held:
    sequence: int
    rank: float
    sample: EncodedSample


class Overflow:
    """A bounded queue by id; the least informative goes first when it is full. The caller locks."""

    def __init__(self, *, max_bytes: int, max_samples: int) -> None:
        self._max_bytes = min(max_bytes, MAX_BYTES)
        self._max_samples = max_samples
        self._held: dict[bytes, _Held] = {}
        self._next = FIRST_SEQUENCE
        self.num_bytes = 0
        self.num_evicted = 0

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, sample_id: bytes) -> bool:
        return sample_id in self._held

    def append(self, sample: EncodedSample) -> bool:
        """Hold `sample`; False if it is held already, or is the least informative of too many."""
        if sample.id in self._held:
            return False
        self._held[sample.id] = _Held(self._next, rank(sample.sample), sample)
        self._next += 1
        self.num_bytes += len(sample.body)
        while len(self._held) > self._max_samples or self.num_bytes > self._max_bytes:
            least = min(self._held.values(), key=lambda held: (held.rank, held.sequence))
            self._drop(least.sample.id)
            self.num_evicted += 1
        return sample.id in self._held

    def peek(
        self, *, max_bytes: int, max_samples: int, after: int
    ) -> list[tuple[int, EncodedSample]]:
        """As `Spool.peek`."""
        found: list[tuple[int, EncodedSample]] = []
        num_bytes = 0
        for held in self._held.values():
            if held.sequence <= after:
                continue
            if len(found) >= max(1, max_samples) or (found and num_bytes >= max_bytes):
                break
            found.append((held.sequence, held.sample))
            num_bytes += len(held.sample.body)
        return found

    def find(self, ids: Collection[bytes]) -> list[tuple[int, EncodedSample]]:
        """As `Spool.find`."""
        held = [self._held[one] for one in ids if one in self._held]
        return sorted(((each.sequence, each.sample) for each in held), key=lambda row: row[0])

    def forget(self, ids: Collection[bytes]) -> int:
        """Let go of those of `ids` that are here; how many."""
        return sum(self._drop(sample_id) for sample_id in ids)

    def samples(self) -> list[EncodedSample]:
        """All, oldest first."""
        return [held.sample for held in self._held.values()]

    def _drop(self, sample_id: bytes) -> bool:
        held = self._held.pop(sample_id, None)
        if held is not None:
            self.num_bytes -= len(held.sample.body)
        return held is not None
