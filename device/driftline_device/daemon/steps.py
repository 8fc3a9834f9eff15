"""Steps: after a fixed number of questions a device waits until it is let go on.

Step 0 lies before the first question, step k after k times that many, and the last one where the
sources end. What else goes on with time (updates, a new policy) happens while the device waits, so
that answers depend on the questions alone.
"""

from __future__ import annotations


class Steps:
    """Counts questions towards the next step; `every` 0: there are none. For one thread."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._num_since = 0
        self._number = 0
        self._due = every > 0

    @property
    def on(self) -> bool:
        """Whether there are steps."""
        return self._every > 0

    @property
    def number(self) -> int | None:
        """Of the step reached last; None where there are none."""
        return self._number if self.on else None

    @property
    def due(self) -> bool:
        """Whether the step that was reached is still to be waited at."""
        return self._due

    def most(self, wanted: int) -> int:
        """How many of `wanted` questions may be answered before the next step."""
        return min(wanted, self._every - self._num_since) if self.on else wanted

    def count(self, num: int) -> None:
        """`num` more questions were answered: at most as many as `most` allows."""
        self._num_since += num
        if self.on and self._num_since >= self._every:
            self._reach()

    def end(self) -> None:
        """The sources are over: what was answered since the last step ends in one more."""
        if self.on and self._num_since:
            self._reach()

    def passed(self) -> None:
        """The device was let go on."""
        self._due = False

    def _reach(self) -> None:
        self._number += 1
        self._num_since = 0
        self._due = True
