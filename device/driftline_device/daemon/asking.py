"""Questions from other threads: who asks hears the answer grow, and may leave before its end."""

from __future__ import annotations

from typing import Protocol

from driftline_device.runtime.runtime import Answer


class UnheardError(Exception):
    """Nobody waits for this answer any more: it is ended, and counts neither for nor against the
    version in force.
    """


class Asker(Protocol):
    """Called by the thread that answers; must return at once. Only `UnheardError` may be raised."""

    def began(self) -> None:
        """An attempt begins with nothing said; there may be another after an error."""

    def told(self, text: str) -> None:
        """The text so far, after each generated token of this attempt."""

    def answered(self, answer: Answer) -> None:
        """The whole answer; sampling and counting come after."""
