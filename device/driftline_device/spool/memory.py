"""A spool in memory: for trials and tests, and where a device may forget on restart."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from driftline_device.spool.spool import SpoolStats, rank
from driftline_shared.tokens import Sample
from driftline_shared.wire import dump_sample


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    sequence: int
    num_bytes: int
    sample: Sample


class MemorySpool:
    """The `Spool` protocol without a disk; everything ends with the process."""

    def __init__(self, *, max_bytes: int, max_samples: int) -> None:
        self._max_bytes = max_bytes
        self._max_samples = max_samples
        self._lock = threading.Lock()
        self._rows: dict[bytes, _Row] = {}
        self._by_rank: list[tuple[float, int, bytes]] = []
        self._sequence = 0
        self._num_bytes = 0
        self._counts: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def append(self, sample: Sample) -> bool:
        """Store `sample`; False if it was evicted at once or known already."""
        num_bytes = len(dump_sample(sample))
        with self._lock:
            if sample.id in self._rows:
                return False
            self._sequence += 1
            self._rows[sample.id] = _Row(
                sequence=self._sequence, num_bytes=num_bytes, sample=replace(sample)
            )
            heapq.heappush(self._by_rank, (rank(sample), self._sequence, sample.id))
            self._num_bytes += num_bytes
            self._counts["appended"] += 1
            if num_bytes > self._max_bytes:
                self._evict(sample.id)
            while len(self._rows) > self._max_samples or self._num_bytes > self._max_bytes:
                self._evict(self._least())
            return sample.id in self._rows

    def peek(
        self, *, max_bytes: int, max_samples: int, after: int = 0
    ) -> Sequence[tuple[int, Sample]]:
        """(sequence, sample) in order of arrival with sequence > `after`, at least one if any."""
        found: list[tuple[int, Sample]] = []
        num_bytes = 0
        with self._lock:
            for row in self._rows.values():  # a dict keeps the order of arrival
                if row.sequence <= after:
                    continue
                num_bytes += row.num_bytes
                if len(found) >= max(1, max_samples) or (found and num_bytes > max_bytes):
                    break
                found.append((row.sequence, row.sample))
        return found

    def ack(self, ids: Sequence[bytes]) -> int:
        """Forget the samples the cloud has; how many of them were here."""
        with self._lock:
            num = sum(self._forget(sample_id) for sample_id in ids)
            self._counts["acked"] += num
            return num

    def refuse(self, ids: Sequence[bytes], reason: str) -> int:
        """Forget samples the cloud will never take; they are counted under `reason`."""
        with self._lock:
            num = sum(self._forget(sample_id) for sample_id in ids)
            self._counts["refused"] += num
            if num:
                self._refused[reason] += num
            return num

    def stats(self) -> SpoolStats:
        """Counts and bytes now."""
        with self._lock:
            return SpoolStats(
                num_samples=len(self._rows),
                num_bytes=self._num_bytes,
                num_appended=self._counts["appended"],
                num_acked=self._counts["acked"],
                num_refused=self._counts["refused"],
                num_evicted=self._counts["evicted"],
                refused_by_reason=dict(self._refused),
            )

    def close(self) -> None:
        """Nothing to release."""

    def _least(self) -> bytes:
        """The id of the least informative sample; entries of forgotten ones are dropped here."""
        while True:
            _, sequence, sample_id = self._by_rank[0]
            row = self._rows.get(sample_id)
            if row is not None and row.sequence == sequence:
                return sample_id
            heapq.heappop(self._by_rank)

    def _evict(self, sample_id: bytes) -> None:
        self._counts["evicted"] += self._forget(sample_id)

    def _forget(self, sample_id: bytes) -> bool:
        row = self._rows.pop(sample_id, None)
        if row is None:
            return False
        self._num_bytes -= row.num_bytes
        if len(self._by_rank) > 64 + 2 * len(self._rows):
            self._by_rank = [(rank(r.sample), r.sequence, i) for i, r in self._rows.items()]
            heapq.heapify(self._by_rank)
        return True
