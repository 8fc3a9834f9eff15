"""Whoever asks from another thread: gets the answer as it grows, may leave before its end."""

from __future__ import annotations

from typing import Protocol

from driftline_device.runtime.runtime import Answer
from driftline_shared.status import Correction


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

    @property
    def waits(self) -> bool:
        """Whether the teacher's answer is worth a wait to it."""

    def on_wait(self) -> None:
        """Now and then while the teacher's answer is waited for."""

    def on_answer(self, answer: Answer, correction: Correction | None = None) -> None:
        """The whole answer, with the teacher's if that came in time; sampling and counting come
        after, except for who waits.
        """
