"""Whoever asks from another thread: gets the answer as it grows, may leave before its end."""

from __future__ import annotations

from typing import Protocol

from driftline_device.runtime.runtime import Answer


class AbandonedError(Exception):
    """Nobody waits for this answer any more: it is ended, and counts neither for nor against the
    version in force.
    """


class AnswerListener(Protocol):
    """Called by the thread that answers; must return at once, may raise only `AbandonedError`."""

    def on_start(self) -> None:
        """An attempt starts with no text; there may be another after an error."""

    def on_text(self, text: str) -> None:
        """The text so far, after each generated token of this attempt."""

    def on_answer(self, answer: Answer) -> None:
        """The whole answer; sampling and counting come after."""
