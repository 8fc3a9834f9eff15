"""How fast questions are taken from a source: batches, and when each is due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from driftline_device.runtime.runtime import Question
from driftline_shared.host.clock import Clock


def batch_size(most: int, pace: float) -> int:
    """How many questions to answer at once, at `pace` a second (0: as fast as possible).

    A live stream must not wait for a batch to fill: at most a quarter of a second's worth.
    """
    return most if pace <= 0 else max(1, min(most, int(pace / 4)))


def batches(rows: Iterable[Question | None], size: Callable[[], int]) -> Iterator[list[Question]]:
    """Batches of `size()`; a smaller one, be it empty, where the source has no more for now."""
    batch: list[Question] = []
    for row in rows:
        if row is not None:
            batch.append(row)
        if row is None or len(batch) >= size():
            yield batch
            batch = []
    if batch:
        yield batch


class Pacer:
    """Spreads questions evenly over time, counted from the start or from the last new pace."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._num = 0
        self._pace: float | None = None

    def count(self, num: int) -> None:
        """`num` more questions were read."""
        self._num += num

    def wait_s(self, pace: float) -> float:
        """Seconds until what was counted is due at `pace` questions a second; 0 or less: now.

        A pace that differs from the one before counts from now on: what a slow pace left undone
        must not be made up for in a rush.
        """
        now_s = self._clock.monotonic_s()
        if self._pace is not None and pace != self._pace:
            self._began_s, self._num = now_s, 0
        self._pace = pace
        return 0.0 if pace <= 0 else self._began_s + self._num / pace - now_s
