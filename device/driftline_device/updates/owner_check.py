"""The owner's part of a new version's self-check: answers that the owner marked, asked of both.

It comes after the pair's own self-check and never instead of it. Where the marks cannot be read (a
disk that fails, rights) an update waits: one that they would have refused must not come in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from driftline_device.history.marks import Mark, MarksVerdict, judge_marks
from driftline_device.runtime.runtime import Question, Session
from driftline_device.updates.probe import Verdict
from driftline_shared.errors import DataError, Reason, UpdateError

BATCH_SIZE = 4
"""Marked answers asked at once; others have their turn at the model in between."""


class OwnersMarks(Protocol):
    """Where the marked answers are."""

    def checked(self) -> Sequence[Mark]:
        """Those with a picture that a new version is held to."""


class OwnerCheck:
    """Holds new versions to the marked answers. `newest`: what the last one made of them."""

    def __init__(self, marks: OwnersMarks | None) -> None:
        """None: nothing is ever marked."""
        self._marks = marks
        self.newest = MarksVerdict()

    def forget(self) -> None:
        """Another update begins."""
        self.newest = MarksVerdict()

    def ready(self) -> None:
        """Raises UpdateError (marks_unreadable) where a new version could not be held to them."""
        self._read()

    def judge(self, active: Session, candidate: Session, verdict: Verdict) -> Verdict:
        """`verdict`, with what the owner's marks say; only one that passed is held to them."""
        if verdict.reason is not None:
            return verdict
        try:
            marks = [mark for mark in self._read() if mark.picture is not None]
        except UpdateError as error:
            return Verdict(reason=error.reason, detail=str(error), numbers=verdict.numbers)
        if not marks:
            return verdict
        both = zip(marks, _answers(active, marks), _answers(candidate, marks), strict=True)
        # What this pair has no room for judges nothing: it may be of one that ran here before.
        told = [(mark, old, new) for mark, old, new in both if old is not None and new is not None]
        if not told:
            return verdict
        self.newest = found = judge_marks(
            [mark for mark, _, _ in told], [old for _, old, _ in told], [new for _, _, new in told]
        )
        numbers = {**verdict.numbers, **found.numbers}
        if found.accepted:
            return replace(verdict, numbers=numbers)
        return Verdict(reason=Reason.OWNER_DISAGREES, detail=found.detail, numbers=numbers)

    def _read(self) -> Sequence[Mark]:
        if self._marks is None:
            return []
        try:
            return self._marks.checked()
        except (sqlite3.Error, OSError) as error:
            raise UpdateError(
                f"the marked answers cannot be read: {error}", reason=Reason.MARKS_UNREADABLE
            ) from error


def _answers(session: Session, marks: Sequence[Mark]) -> list[str | None]:
    """What it says to each; None where it refuses the question."""
    found: list[str | None] = []
    for start in range(0, len(marks), BATCH_SIZE):
        some = marks[start : start + BATCH_SIZE]
        try:
            found += _said(session, some)
        except DataError:
            for mark in some:
                try:
                    found += _said(session, [mark])
                except DataError:
                    found.append(None)
    return found


def _said(session: Session, marks: Sequence[Mark]) -> list[str]:
    questions = [
        Question(image=mark.picture, text=mark.question)
        for mark in marks
        if mark.picture is not None
    ]
    return [answer.text for answer in session.answer(questions)]
