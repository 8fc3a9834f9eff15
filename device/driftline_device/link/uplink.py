"""Samples up: one stream at a time, read from the spool, answered sample by sample.

Threads: gRPC's own pulls batches out of `_Stream.requests`; the caller of `Uplink.run` reads the
acks; a third one calls `expire`. A sample leaves the spool only when its ack has come, so whatever
breaks, the next stream sends it again, and the cloud knows it by its id.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import grpc
import structlog

from driftline_device.link.answers import Answers, NoAnswers
from driftline_device.link.counters import Counters
from driftline_device.link.settings import LinkSettings
from driftline_device.link.window import Window
from driftline_device.sampling.budget_ledger import Ledger
from driftline_device.sampling.budget_plan import ENVELOPE_BYTES
from driftline_device.sampling.sampler import BATCH_BYTES
from driftline_device.spool.spool import Spool
from driftline_proto.v1 import uplink_pb2, uplink_pb2_grpc
from driftline_shared.bounds import MAX_CORRECTIONS
from driftline_shared.callbacks import ignore
from driftline_shared.errors import DriftlineError, LinkError, Reason
from driftline_shared.host.clock import Clock
from driftline_shared.retry import delays
from driftline_shared.rpc.errors import CALL_ERRORS, as_link_error
from driftline_shared.status import SampleAck, SampleVerdict
from driftline_shared.wire import EncodedSample, from_acks, from_corrections

AckWatch = Callable[[SampleAck, float], None]
"""Called with the cloud's word on a sample, and the seconds since it was sent."""

OVER_BUDGET = "over_budget"
"""Why a sample is let go that the owner's budget never has room for."""

_log = structlog.get_logger(__name__)


class Uplink:
    """Runs one stream after another; `run` is for one thread, the rest for any."""

    def __init__(
        self,
        spool: Spool,
        settings: LinkSettings,
        counters: Counters,
        *,
        clock: Clock,
        rng: random.Random,
        ledger: Ledger | None = None,
        answers: Answers | None = None,
        watch: AckWatch = ignore,
    ) -> None:
        """`ledger`: of the owner's budget; None: no bound. `answers`: who waits for the teacher's;
        None: nobody. `watch` is called with every ack; it must raise nothing.
        """
        self._watch = watch
        self._ledger = ledger
        self._spool = spool
        self._settings = settings
        self._counters = counters
        self._answers = answers or NoAnswers()
        self._clock = clock
        self._rng = rng
        self._stream: _Stream | None = None
        self._held = threading.Event()
        self.last_progress = False

    @property
    def held(self) -> bool:
        """Whether samples are held back: those under way are settled, no other is sent."""
        return self._held.is_set()

    def hold(self, held: bool) -> None:
        """Hold samples back, or let them go."""
        if held:
            self._held.set()
        else:
            self._held.clear()

    def may_send(self) -> bool:
        """Whether a sample waits that the owner's budget has room for; what no period could ever
        pay for is let go.
        """
        rows = self._spool.peek(max_bytes=1, max_samples=1)
        if not rows or self._ledger is None:
            return bool(rows)
        sample = rows[0][1]
        num_bytes = len(sample.body) + ENVELOPE_BYTES
        if num_bytes > self._ledger.most:
            self._spool.refuse([sample.id], OVER_BUDGET)
            _log.warning(
                "sample.over_budget",
                num_bytes=num_bytes,
                budget_bytes=self._ledger.most,
                fix="It was made under a larger budget, or for none: give more.",
            )
            return False
        return num_bytes <= self._ledger.left()

    @property
    def num_in_flight(self) -> int:
        """Samples sent and not answered."""
        stream = self._stream
        return stream.num_in_flight if stream is not None else 0

    def run(
        self, channel: grpc.Channel, device_id: str, token_space: str, stop: threading.Event
    ) -> None:
        """Send until the spool has been empty for a while or `stop` is set.

        Raises what broke the stream; `last_progress` says whether it had settled any sample.
        """
        stream = _Stream(
            device_id, token_space, self._spool, self._settings, self._counters,
            clock=self._clock, rng=self._rng, stop=stop, held=self._held, ledger=self._ledger,
            answers=self._answers, watch=self._watch,
        )  # fmt: skip
        self._stream = stream
        try:
            stream.run(uplink_pb2_grpc.UplinkStub(channel))
        finally:
            self.last_progress = stream.num_settled > 0
            self._stream = None

    @property
    def is_working(self) -> bool:
        """Whether the stream of this moment has settled samples."""
        stream = self._stream
        return stream is not None and stream.num_settled > 0

    def wake(self) -> None:
        """There may be something to send."""
        stream = self._stream
        if stream is not None:
            stream.wake()

    def expire(self) -> None:
        """Break the stream if the cloud owes an ack for too long; to be called now and then."""
        stream = self._stream
        if stream is not None:
            stream.expire()

    def cancel(self) -> None:
        """Break the stream now."""
        stream = self._stream
        if stream is not None:
            stream.cancel(LinkError("the device stops"))


class _Stream:
    """The life of one Push call."""

    def __init__(
        self,
        device_id: str,
        token_space: str,
        spool: Spool,
        settings: LinkSettings,
        counters: Counters,
        *,
        clock: Clock,
        rng: random.Random,
        stop: threading.Event,
        held: threading.Event,
        ledger: Ledger | None,
        answers: Answers,
        watch: AckWatch,
    ) -> None:
        self._watch = watch
        self._ledger = ledger
        self._device_id = device_id
        self._token_space = token_space
        self._spool = spool
        self._settings = settings
        self._counters = counters
        self._clock = clock
        self._stop = stop
        self._held = held
        self._answers = answers
        self._seen: dict[bytes, None] = {}
        # A stream without samples says whose it is with an empty batch.
        self._greet = answers.owed
        self._lock = threading.Lock()
        self._window = Window(max_bytes=settings.window_bytes, max_samples=settings.window_samples)
        self._rng = rng
        self._pauses = delays(settings.backoff, rng)
        self._pause_until_s = 0.0
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._no_more = False
        self._failure: DriftlineError | None = None
        self._call: grpc.Call | None = None
        self.num_settled = 0

    @property
    def num_in_flight(self) -> int:
        with self._lock:
            return len(self._window)

    def wake(self) -> None:
        self._wake.set()

    def cancel(self, why: DriftlineError) -> None:
        """End the call; `run` raises `why`."""
        with self._lock:
            self._failure = self._failure or why
            call = self._call
        self._ended.set()
        self._wake.set()
        if call is not None:
            call.cancel()

    def expire(self) -> None:
        with self._lock:
            oldest_s = self._window.oldest_s
        if oldest_s is None:
            return
        waited_s = self._clock.monotonic_s() - oldest_s
        if waited_s > self._settings.ack_timeout_s:
            self.cancel(LinkError(f"no ack for {waited_s:.0f} s"))

    def run(self, stub: uplink_pb2_grpc.UplinkStub) -> None:
        """Open the call and read acks until it ends; raises what broke it."""
        try:
            call = stub.Push(self.requests())
            with self._lock:
                self._call = call
                failure = self._failure
            if failure is not None:
                call.cancel()
            for message in call:
                self._counters.add(bytes_down=message.ByteSize())
                self._take(from_acks(message))
                self._take_corrections(message)
        except DriftlineError as error:
            self.cancel(error)
            raise
        except CALL_ERRORS as error:
            raise self._failure or as_link_error(error) from error
        finally:
            self._ended.set()
            self._wake.set()
        if self._failure is not None:
            raise self._failure
        if self.num_in_flight or not self._no_more:
            raise LinkError("the cloud closed the stream")

    # -- up ---------------------------------------------------------------------------------------

    def requests(self) -> Iterator[uplink_pb2.EncodedBatch]:
        """Batches as long as there is something to send; gRPC pulls them in a thread of its own."""
        quiet_since_s = self._clock.monotonic_s()
        try:
            while not (self._stop.is_set() or self._ended.is_set()):
                batch = self._next_batch()
                now_s = self._clock.monotonic_s()
                if batch is not None:
                    self._counters.add(bytes_up=batch.ByteSize(), num_sent=len(batch.samples))
                    quiet_since_s = now_s
                    yield batch
                elif self.num_in_flight == 0 and now_s - quiet_since_s >= self._settings.idle_s:
                    break
                else:
                    self._clock.wait(self._wake, self._settings.poll_s)
                    self._wake.clear()
        except Exception as error:  # gRPC would swallow it: it is handed to `run` instead
            _log.exception("uplink.reader_failed")
            self.cancel(LinkError(f"reading the spool failed: {error}", reason=Reason.INTERNAL))
        self._no_more = True

    def _next_batch(self) -> uplink_pb2.EncodedBatch | None:
        """What may be sent now, noted as under way."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._held.is_set() or now_s < self._pause_until_s or not self._window.room_bytes:
                return None
            batch = uplink_pb2.EncodedBatch(
                device_id=self._device_id,
                token_space=self._token_space,
                corrections_seen=list(self._seen)[:MAX_CORRECTIONS],
            )
            ahead, chosen = self._unsent()
            if not self._settings.images_may_leave:
                # The owner may have taken the permission back after it was spooled.
                chosen = [(sequence, sample.without_regions()) for sequence, sample in chosen]
            chosen = self._within_budget(chosen)
            batch.samples.extend(sample.body for _, sample in chosen)
            if not (chosen or batch.corrections_seen or self._greet):
                return None
            if self._ledger and not self._ledger.take(batch.ByteSize(), asking=not chosen):
                return None
            self._greet = False
            for one in batch.corrections_seen:
                self._seen.pop(one)
            for sequence, sample in chosen:
                self._window.send(
                    sample.id,
                    sequence=sequence,
                    num_bytes=len(sample.body),
                    now_s=now_s,
                    ahead=ahead,
                )
            return batch

    def _within_budget(
        self, chosen: list[tuple[int, EncodedSample]]
    ) -> list[tuple[int, EncodedSample]]:
        """As many of the first ones as the owner's budget has room for."""
        if self._ledger is None:
            return chosen
        left = self._ledger.left() - ENVELOPE_BYTES
        ends = accumulate(len(sample.body) + BATCH_BYTES for _, sample in chosen)
        return chosen[: sum(end <= left for end in ends)]

    def _unsent(self) -> tuple[bool, list[tuple[int, EncodedSample]]]:
        """The next samples of the spool that are not under way, as many as fit; and whether they go
        ahead of others, because somebody waits for the teacher's answer.
        """
        max_bytes = min(self._settings.batch_bytes, self._window.room_bytes)
        max_samples = min(self._settings.batch_samples, self._window.room_samples)
        urgent = self._urgent(max_bytes, max_samples)
        return (True, urgent) if urgent else (False, self._in_order(max_bytes, max_samples))

    def _urgent(self, max_bytes: int, max_samples: int) -> list[tuple[int, EncodedSample]]:
        ids = [one for one in self._answers.urgent() if not self._window.is_under_way(one)]
        if not ids:
            return []
        rows = self._spool.find(ids[:max_samples])
        here = {sample.id for _, sample in rows}
        self._answers.not_waiting([one for one in ids[:max_samples] if one not in here])
        fitting: list[tuple[int, EncodedSample]] = []
        num_bytes = 0
        for sequence, sample in rows:
            num_bytes += len(sample.body)
            if fitting and num_bytes > max_bytes:
                break
            fitting.append((sequence, sample))
        return fitting

    def _in_order(self, max_bytes: int, max_samples: int) -> list[tuple[int, EncodedSample]]:
        while True:
            rows = self._spool.peek(
                max_bytes=max_bytes, max_samples=max_samples, after=self._window.cursor
            )
            if not rows:
                self._window.rewind()
                return []
            unsent = [row for row in rows if not self._window.is_under_way(row[1].id)]
            if unsent:
                return unsent
            self._window.pass_over(rows[-1][0])

    # -- acks -------------------------------------------------------------------------------------

    def _take(self, acks: Sequence[SampleAck]) -> None:
        """Let go of what is settled. First the spool, then the window: never the other way round,
        or a sample could be read from the spool again between the two."""
        with self._lock:
            # An ack for something never sent on this stream must not delete anything.
            acks = [ack for ack in acks if self._window.is_under_way(ack.id)]
            sent_s = [self._window.sent_s(ack.id) or 0.0 for ack in acks]
        if self._watch is not ignore:
            now_s = self._clock.monotonic_s()
            for ack, one_s in zip(acks, sent_s, strict=True):
                self._watch(ack, now_s - one_s)
        stored = [ack.id for ack in acks if ack.verdict in _HAS]
        refused = defaultdict(list)
        for ack in acks:
            if ack.verdict is SampleVerdict.REFUSED and not _passes(ack):
                refused[ack.reason, ack.detail].append(ack.id)
        if stored:
            self._spool.ack(stored)
            self._counters.add(num_acked=len(stored))
        for (reason, detail), ids in refused.items():
            self._spool.refuse(ids, reason)
            self._counters.add(num_refused=len(ids))
            _log.warning("samples.refused", num_samples=len(ids), reason=reason, detail=detail)
        self._settle(acks)
        self._answers.acked(acks)
        self._wake.set()
        if any(ack.reason == Reason.UNKNOWN_DEVICE for ack in acks):
            raise LinkError("the cloud does not know this device", reason=Reason.UNKNOWN_DEVICE)

    def _take_corrections(self, message: uplink_pb2.SampleAcks) -> None:
        """Act upon corrections, then say so with the next batch; those that make no sense, too,
        need not come again."""
        good, bad = from_corrections(message)
        if bad:
            _log.warning("corrections.malformed", num=len(bad))
        if not (good or bad):
            return
        self._answers.take(good)
        with self._lock:
            self._seen |= dict.fromkeys([*(one.id for one in good), *bad])
        self._counters.add(num_corrections=len(good))
        self._wake.set()

    def _settle(self, acks: Sequence[SampleAck]) -> None:
        again = [ack for ack in acks if _passes(ack)]
        with self._lock:
            for ack in acks:
                if _passes(ack):
                    self._window.send_again(ack.id)
                else:
                    self._window.settle(ack.id)
            num_settled = len(acks) - len(again)
            self.num_settled += num_settled
            if num_settled:
                self._pauses = delays(self._settings.backoff, self._rng)
            if again:
                # The cloud is busy: all sending rests, not just that of the samples it named.
                pause_s = next(self._pauses)
                self._pause_until_s = self._clock.monotonic_s() + pause_s
                self._counters.add(num_retried=len(again))
                _log.info(
                    "uplink.paused", pause_s=pause_s, num_samples=len(again), reason=again[0].reason
                )


_HAS = frozenset({SampleVerdict.STORED, SampleVerdict.DUPLICATE})
_PASSING = frozenset({Reason.UNKNOWN_DEVICE, Reason.STORE_BUSY, Reason.QUOTA_EXCEEDED})


def _passes(ack: SampleAck) -> bool:
    """Whether the sample may be taken later. Some reasons are never the sample's fault: a refusal
    for one of these, too, must not cost the sample."""
    if ack.verdict is SampleVerdict.RETRY:
        return True
    return ack.verdict is SampleVerdict.REFUSED and ack.reason in _PASSING
