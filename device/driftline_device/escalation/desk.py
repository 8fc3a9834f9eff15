"""What was asked of the teacher, from the question to the correction or to the end of the wait.

Any thread may call. A correction is acted upon once, by its sample's id; it may come on any stream,
after a restart of either side, or never. Nobody here holds the model's turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from driftline_device.escalation.book import Book
from driftline_device.escalation.records import Asked
from driftline_shared.callbacks import ignore
from driftline_shared.exact_match import is_correct
from driftline_shared.host.clock import Clock
from driftline_shared.status import Correction, SampleAck, SampleVerdict

MOST_ASKED = 512
"""Unanswered questions remembered; beyond, the oldest are given up."""

KEEP_S = 7 * 86_400.0
"""An answer that did not come for so long is not waited for any more."""

SLICE_S = 0.05
"""Longest wait between two looks whether the client is still there."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Waiter:
    """A request that waits, or soon will; `over` where something came or nothing will."""

    over: threading.Event = field(default_factory=threading.Event)
    correction: Correction | None = None


class EscalationDesk:
    """The escalations of one device.

    `on_correction` is called with what was asked, the teacher's answer, and whether it came in time
    for the request that waited; it must raise nothing.
    """

    def __init__(
        self,
        book: Book,
        clock: Clock,
        *,
        on_correction: Callable[[Asked, Correction, bool], None] = ignore,
    ) -> None:
        self._book = book
        self._clock = clock
        self.on_correction = on_correction
        self.reachable: Callable[[], bool] = lambda: True
        """Whether the cloud can be reached now: without it nobody waits."""
        self._lock = threading.Lock()
        self._asked = {bytes.fromhex(each.sample): each for each in book.asked()}
        self._unsent = dict.fromkeys(self._asked)
        self._waiters: dict[bytes, _Waiter] = {}
        self._closed = False
        self._num = dict.fromkeys(("asked", "corrected", "agreed", "in_time", "unanswered"), 0)

    # -- who answers ------------------------------------------------------------------------------

    def ask(self, asked: Asked, *, waits: bool = False) -> None:
        """Note a question, before its sample is in the spool. `waits`: `wait` will be called."""
        key = bytes.fromhex(asked.sample)
        with self._lock:
            self._asked[key] = asked
            self._num["asked"] += 1
            if waits:
                self._waiters[key] = _Waiter()
            too_many = list(self._asked.values())[: max(0, len(self._asked) - MOST_ASKED)]
        self._book.ask(asked)
        for each in too_many:
            self._end(bytes.fromhex(each.sample), "too_many")

    def kept(self, sample_id: bytes) -> None:
        """Its sample is in the spool, and goes before others."""
        with self._lock:
            self._unsent[sample_id] = None

    def withdraw(self, sample_id: bytes) -> None:
        """Its sample did not get into the spool: nothing was asked."""
        with self._lock:
            asked = self._asked.pop(sample_id, None)
            self._num["asked"] -= asked is not None
            self._waiters.pop(sample_id, None)
        if asked is not None:
            self._book.withdraw(asked)

    def wait(
        self, sample_id: bytes, seconds: float, going_on: Callable[[], None] = ignore
    ) -> Correction | None:
        """The teacher's answer if it comes within `seconds`; None where it does not, where the
        cloud is away or says that none will come. `going_on` is called now and then; may raise.
        """
        with self._lock:
            waiter = self._waiters.get(sample_id)
        if waiter is None:
            return None
        deadline_s = self._clock.monotonic_s() + seconds
        try:
            while self.reachable():
                left_s = deadline_s - self._clock.monotonic_s()
                if left_s <= 0 or self._clock.wait(waiter.over, min(left_s, SLICE_S)):
                    break
                going_on()
        finally:
            with self._lock:
                self._waiters.pop(sample_id, None)
        return waiter.correction

    # -- the link's -------------------------------------------------------------------------------

    def urgent(self) -> list[bytes]:
        """The samples that go before others, the oldest first."""
        with self._lock:
            return list(self._unsent)

    def not_waiting(self, sample_ids: Sequence[bytes]) -> None:
        """These are not in the spool any more."""
        with self._lock:
            for sample_id in sample_ids:
                self._unsent.pop(sample_id, None)

    @property
    def owed(self) -> bool:
        """Whether an answer may still come."""
        with self._lock:
            return bool(self._asked)

    def acked(self, acks: Sequence[SampleAck]) -> None:
        """The cloud's word on samples; on those that ask for nothing, too."""
        for ack in acks:
            with self._lock:
                if ack.id not in self._asked:
                    continue
                if ack.verdict is SampleVerdict.RETRY:
                    self._release(ack.id, None)  # not now: it comes late, if at all
                    continue
                self._unsent.pop(ack.id, None)
            if ack.verdict is SampleVerdict.REFUSED:
                self._end(ack.id, ack.reason)
            elif not ack.answer_follows:
                self._end(ack.id, ack.no_answer or "cloud_knows_no_corrections")

    def take(self, corrections: Sequence[Correction]) -> None:
        """Act upon what came; upon the same one once."""
        for correction in corrections:
            if correction.no_answer:
                self._end(correction.id, correction.no_answer)
                continue
            with self._lock:
                asked = self._asked.pop(correction.id, None)
                self._unsent.pop(correction.id, None)
                in_time = self._release(correction.id, correction)
            if asked is None:
                _log.debug("correction.not_asked_for", sample=correction.id.hex())
                continue
            agrees = is_correct(asked.answer, correction.answer)
            counts = {"corrected": 1, "agreed": int(agrees), "in_time": int(in_time)}
            self.on_correction(asked, correction, in_time)
            with self._lock:
                for name, value in counts.items():
                    self._num[name] += value
            # Last: after a kill in between it comes once more, as the same event.
            self._book.settle(asked, now_s=self._clock.now_s(), **counts)
            _log.info(
                "correction.taken",
                sample=asked.sample,
                answer=asked.answer_id,
                agrees=agrees,
                in_time=in_time,
                seconds=round(self._clock.now_s() - asked.unix_s, 3),
            )

    # -- the daemon's -----------------------------------------------------------------------------

    def tidy(self) -> None:
        """Give up what was not answered for too long."""
        edge_s = self._clock.now_s() - KEEP_S
        with self._lock:
            old = [key for key, asked in self._asked.items() if asked.unix_s < edge_s]
        for key in old:
            self._end(key, "kept_too_long")

    def statistics(self) -> dict[str, Any]:
        """Counts since the start, and how many are not answered yet."""
        with self._lock:
            return {**self._num, "waiting": len(self._asked)}

    def close(self) -> None:
        """Nobody waits any more; what is not answered stays in the file."""
        with self._lock:
            for key in list(self._waiters):
                self._release(key, None)
        self._book.close()

    # -- under the lock, or taking it -------------------------------------------------------------

    def _end(self, key: bytes, why: str) -> None:
        """There will be no answer."""
        with self._lock:
            asked = self._asked.pop(key, None)
            self._unsent.pop(key, None)
            self._release(key, None)
            self._num["unanswered"] += asked is not None
        if asked is not None:
            self._book.settle(asked, now_s=self._clock.now_s(), unanswered=1)
            _log.info("escalation.unanswered", sample=asked.sample, reason=why)

    def _release(self, key: bytes, correction: Correction | None) -> bool:
        """Let whoever waits go on; whether somebody did. The caller locks."""
        waiter = self._waiters.get(key)
        if waiter is None or waiter.over.is_set():
            return False
        waiter.correction = correction
        waiter.over.set()
        return True
