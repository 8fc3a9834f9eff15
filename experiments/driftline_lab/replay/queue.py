"""The event queue of a replay: what happens next, in an order that nothing but the input decides.

Events of one moment happen by `rank`, then in the order in which they were put in. There are no
threads here, no wall clock and no hash order: two runs with the same input take the same events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

Action = Callable[[], None]
"""What an event does."""


class EventQueue:
    """Future events by their moment, in virtual seconds."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Action]] = []
        self._numbers = count()

    def put(self, at_s: float, action: Action, *, rank: int = 0) -> None:
        """`action` is to happen at `at_s`; of equal moments the lower `rank` goes first."""
        heapq.heappush(self._heap, (at_s, rank, next(self._numbers), action))

    def next_s(self) -> float | None:
        """The moment of the next event; None if there is none."""
        return self._heap[0][0] if self._heap else None

    def pop(self) -> Action:
        """Take the next event out; IndexError if there is none."""
        return heapq.heappop(self._heap)[3]

    def __len__(self) -> int:
        return len(self._heap)
