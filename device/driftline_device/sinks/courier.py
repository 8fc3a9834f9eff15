"""Delivers what waits in an outbox, in order, from a thread of its own, again and again until the
other side has it: at least once.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from driftline_device.sinks.event import Event
from driftline_device.sinks.outage import Outage
from driftline_device.sinks.outbox import Outbox
from driftline_device.sinks.sink import SinkStats
from driftline_shared.errors import LinkError
from driftline_shared.host.clock import Clock
from driftline_shared.retry import Backoff, delays

BATCH = 50
"""Events handed to a transport at once."""

BACKOFF = Backoff(first_s=1.0, cap_s=300.0)
"""Waits before the other side is tried again."""

IDLE_S = 60.0
"""Longest wait without an event."""

MOST_ASKED_FOR_S = 3600.0
"""Longest wait that the other side may ask for."""


class UndeliveredError(LinkError):
    """The other side did not take an event now; `after_s`: how long it asks to wait."""

    def __init__(self, message: str, *, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class Taken(Protocol):
    """Called for each event that need not be delivered again."""

    def __call__(self, event: Event, *, refused: str = "") -> None:
        """`refused`: why the other side will never take it."""


class Transport(Protocol):
    """One way to deliver; used by one thread."""

    def start(self, wake: Callable[[], None]) -> None:
        """Called once, before all else. `wake` asks for a call of `tend`, from any thread."""

    def tend(self) -> None:
        """Have what is needed to deliver. Raises UndeliveredError while that cannot be had."""

    def deliver(self, events: Sequence[Event], taken: Taken) -> None:
        """Deliver in order, each told to `taken`; UndeliveredError at the first that is not."""

    def close(self) -> None:
        """Say goodbye; raises nothing of importance."""


class Courier:
    """The `Sink` that delivers through `transport` what waits in `outbox`."""

    def __init__(
        self,
        name: str,
        transport: Transport,
        outbox: Outbox,
        clock: Clock,
        *,
        kind: str,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self.name = name
        self._transport = transport
        self._outbox = outbox
        self._clock = clock
        self._backoff = backoff
        self._waits = delays(backoff, random.Random())
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._num_delivered = self._num_refused = 0
        self._outage = Outage(
            "sink",
            clock,
            fix="Events wait and are delivered when it is back; look at its address and secrets.",
            sink=name,
            kind=kind,
        )
        self._refusals = Outage("sink_refusals", clock, fix="Look at what it expects.", sink=name)
        self._thread = threading.Thread(
            target=self._run, name=f"driftline-sink-{name}", daemon=True
        )

    def start(self) -> None:
        """See `Sink`."""
        self._thread.start()

    def offer(self, event: Event) -> None:
        """See `Sink`."""
        self._outbox.append(event)
        self._wake.set()

    def close(self, timeout_s: float) -> bool:
        """See `Sink`; a sink that is away is not waited for."""
        self._ending.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        num_left = self._outbox.num_waiting
        self._outbox.close()
        return num_left == 0

    def stats(self) -> SinkStats:
        """See `Sink`."""
        return SinkStats(
            num_waiting=self._outbox.num_waiting,
            num_delivered=self._num_delivered,
            num_dropped=self._outbox.num_dropped,
            num_refused=self._num_refused,
            error=self._outage.error,
        )

    def _run(self) -> None:
        self._transport.start(self._wake.set)
        try:
            while self._turn():
                pass
        finally:
            self._transport.close()

    def _turn(self) -> bool:
        """One batch, or one wait; False at the end."""
        self._wake.clear()
        try:
            self._transport.tend()
            waiting = self._outbox.peek(BATCH)
            if waiting:
                self._deliver(waiting)
        except Exception as error:  # whatever it is, the events are kept and tried again
            self._outage.lost(error)
            if self._ending.is_set():
                return False
            asked_s = min(getattr(error, "after_s", 0.0), MOST_ASKED_FOR_S)
            self._clock.wait(self._ending, max(asked_s, next(self._waits)))
            return True
        self._outage.back(num_waiting=self._outbox.num_waiting)
        self._waits = delays(self._backoff, random.Random())
        if not waiting:
            if self._ending.is_set():
                return False
            self._clock.wait(self._wake, IDLE_S)
        return True

    def _deliver(self, waiting: Sequence[tuple[int, Event]]) -> None:
        places = {id(event): place for place, event in waiting}
        done: list[int] = []

        def taken(event: Event, *, refused: str = "") -> None:
            done.append(places[id(event)])
            if refused:
                self._num_refused += 1
                self._refusals.lost(refused)
            else:
                self._num_delivered += 1
                self._refusals.back()

        try:
            self._transport.deliver([event for _, event in waiting], taken)
        finally:
            self._outbox.remove(done)
