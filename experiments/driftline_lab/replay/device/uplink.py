"""The uplink of a replay's device: batches from the real spool, over a link of the virtual clock.

One batch is under way at a time, of the size that the device's own uplink would make; it leaves
the spool when its acks have come back. What the cloud wants later waits as the device would let it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from driftline_device.link.settings import LinkSettings
from driftline_device.spool.spool import Spool
from driftline_lab.replay.clock import VirtualClock
from driftline_lab.replay.cloud.side import CloudSide, ack_bytes
from driftline_lab.replay.links import Link
from driftline_shared.retry import delays
from driftline_shared.status import SampleAck, SampleVerdict
from driftline_shared.wire import to_batch

RANK = 1
"""At one moment a device answers first, then its samples move."""


@dataclass(kw_only=True, slots=True)
class UplinkCounts:
    """What went up. `num_bytes`: of batches; `num_resent_bytes`: of those, on lossy links, besides.

    `wait_s`: from a batch's start to its acks, in all.
    """

    num_batches: int = 0
    num_stored: int = 0
    num_duplicates: int = 0
    num_refused: int = 0
    num_retried: int = 0
    num_bytes: int = 0
    num_resent_bytes: int = 0
    wait_s: float = 0.0


class VirtualUplink:
    """Sends what lies in `spool`. `on_stored` is called with how many the cloud has taken."""

    def __init__(
        self,
        *,
        device_id: str,
        token_space: str,
        spool: Spool,
        cloud: CloudSide,
        link: Link,
        clock: VirtualClock,
        settings: LinkSettings,
        on_stored: Callable[[int], None],
        seed: int,
    ) -> None:
        self._device_id = device_id
        self._token_space = token_space
        self._spool = spool
        self._cloud = cloud
        self._link = link
        self._clock = clock
        self._settings = settings
        self._on_stored = on_stored
        self._rng = random.Random(seed)
        self._pauses = delays(settings.backoff, self._rng)
        self._busy = False
        self.counts = UplinkCounts()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing is left to send."""
        return not self._busy and self._spool.stats().num_samples == 0

    def wake(self) -> None:
        """There may be something to send."""
        if self._busy:
            return
        rows = self._spool.peek(
            max_bytes=self._settings.batch_bytes, max_samples=self._settings.batch_samples
        )
        if not rows:
            return
        bodies = [sample.body for _, sample in rows]
        num_bytes = to_batch(self._device_id, self._token_space, bodies).ByteSize()
        start_s = self._clock.monotonic_s()
        counts = self.counts
        sent = self._link.send(
            num_bytes, start_s=start_s, direction="up", key=2 * counts.num_batches
        )
        counts.num_batches += 1
        counts.num_bytes += num_bytes
        counts.num_resent_bytes += sent.num_resent_bytes
        self._busy = True
        self._clock.at(sent.end_s, lambda: self._arrive(bodies, start_s), rank=RANK)

    def _arrive(self, bodies: Sequence[bytes], start_s: float) -> None:
        acks = self._cloud.push(self._device_id, self._token_space, bodies)
        num_stored = sum(ack.verdict is SampleVerdict.STORED for ack in acks)
        if num_stored:
            self._on_stored(num_stored)
        back = self._link.send(
            ack_bytes(acks),
            start_s=self._clock.monotonic_s(),
            direction="down",
            key=2 * self.counts.num_batches + 1,
        )
        self._clock.at(back.end_s, lambda: self._settle(acks, start_s), rank=RANK)

    def _settle(self, acks: Sequence[SampleAck], start_s: float) -> None:
        counts, by_verdict = self.counts, defaultdict(list)
        counts.wait_s += self._clock.monotonic_s() - start_s
        for ack in acks:
            by_verdict[ack.verdict].append(ack)
        stored, known = by_verdict[SampleVerdict.STORED], by_verdict[SampleVerdict.DUPLICATE]
        self._spool.ack([ack.id for ack in (*stored, *known)])
        refused = defaultdict(list)
        for ack in by_verdict[SampleVerdict.REFUSED]:
            refused[ack.reason].append(ack.id)
        for reason, ids in refused.items():
            self._spool.refuse(ids, reason)
        later = by_verdict[SampleVerdict.RETRY]
        counts.num_stored += len(stored)
        counts.num_duplicates += len(known)
        counts.num_refused += sum(map(len, refused.values()))
        counts.num_retried += len(later)
        pause_s = 0.0
        if later:
            pause_s = next(self._pauses)
        else:
            self._pauses = delays(self._settings.backoff, self._rng)
        self._clock.after(pause_s, self._rested, rank=RANK)

    def _rested(self) -> None:
        self._busy = False
        self.wake()
