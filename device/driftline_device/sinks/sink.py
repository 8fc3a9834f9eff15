"""The Sink protocol: where events go. Whatever a sink does, an answer never waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from driftline_device.sinks.event import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkStats:
    """A sink now. `num_waiting`: taken and not delivered. `num_dropped`: left out for want of
    room, oldest first; `num_refused`: what the other side will never take. `error`: of the outage
    that lasts; empty while all is well.
    """

    num_waiting: int = 0
    num_delivered: int = 0
    num_dropped: int = 0
    num_refused: int = 0
    error: str = ""


class Sink(Protocol):
    """Takes events in turn; safe from any thread."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    def start(self) -> None:
        """Begin to deliver in the background; the other side need not be there."""

    def offer(self, event: Event) -> None:
        """Take `event`, at once; raises nothing."""

    def close(self, timeout_s: float) -> bool:
        """Deliver what waits for at most `timeout_s`, then end; whether nothing waits."""

    def stats(self) -> SinkStats:
        """The sink now."""
