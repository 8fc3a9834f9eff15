"""All feeds as one source: each has its turn, a picture with all its questions at a time."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from typing import Any

from driftline_device.feeds.reader import BACKOFF, FeedPlan, FeedReader
from driftline_device.runtime.runtime import Question
from driftline_device.sources.source import IDLE_S
from driftline_shared.host.clock import Clock, SystemClock
from driftline_shared.retry import Backoff


class FairFeeds:
    """The `Source` that goes round: between two pictures of one feed, every other feed that has
    one has had its turn. Ends when all feeds have.
    """

    def __init__(
        self,
        plans: Sequence[FeedPlan],
        *,
        name: str = "feeds",
        clock: Clock | None = None,
        backoff: Backoff = BACKOFF,
    ) -> None:
        self.name = name
        self._arrived = threading.Condition()
        clock = clock or SystemClock()
        self._readers = [
            FeedReader(plan, self._arrived, clock=clock, backoff=backoff) for plan in plans
        ]

    @property
    def num_broken(self) -> int:
        """Pictures left out so far."""
        return sum(reader.num_broken for reader in self._readers)

    def states(self) -> dict[str, dict[str, Any]]:
        """Each feed: what it does (`reading`, `away`, `over`), its pictures, why it is away."""
        return {reader.name: reader.state() for reader in self._readers}

    def __iter__(self) -> Generator[Question | None, None, None]:
        """Once; a round of questions, then None."""
        for reader in self._readers:
            reader.start()
        try:
            while True:
                took = False
                for reader in self._readers:
                    questions = reader.take()
                    took = took or bool(questions)
                    yield from questions
                if not took:
                    with self._arrived:
                        if all(reader.over for reader in self._readers):
                            return
                        self._arrived.wait(IDLE_S)
                yield None
        finally:
            for reader in self._readers:
                reader.stop()
            for reader in self._readers:
                reader.join()
