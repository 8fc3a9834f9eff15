"""What an owner says about answers, and what a new version makes of it. Pure.

A marked answer is one question of a self-check set that belongs to the owner. Where the owner said
what is right, an answer is right if it says the same; where only that it was wrong, any answer that
says something else counts as right: nothing better is known. A version that breaks more marked
answers than it fixes is not taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import DataError
from driftline_shared.exact_match import is_correct

MOST_ANSWER_CHARS = 1_000
"""Of what an owner says is right."""

NUM_EXAMPLES = 3
"""Answers shown of those that an update fixed or broke."""


def check_right_answer(text: str) -> None:
    """DataError for what no answer can be: nothing, too much, or what is no text."""
    if not text.strip():
        raise DataError("the right answer is empty")
    if len(text) > MOST_ANSWER_CHARS:
        raise DataError(
            f"the right answer has {len(text)} characters, at most {MOST_ANSWER_CHARS} are kept"
        )
    if not all(each.isprintable() for each in text):
        raise DataError("the right answer holds line breaks or characters that are no text")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """The owner's word on the answer `id`: `said` is what the device said, `right` whether that was
    right, `answer` what would be right (None: not known). `picture`: (H, W, 3) uint8 RGB, None
    where it was gone when the answer was marked.
    """

    id: str
    unix_s: float
    question: str
    said: str
    right: bool
    answer: str | None = None
    place: str = ""
    feed: str = ""
    version: int = 0
    picture: NDArray[np.uint8] | None = None

    @property
    def known_answer(self) -> str:
        """What is right, as far as the owner said; empty where only that it was wrong."""
        return self.said if self.right else self.answer or ""

    def is_right(self, text: str) -> bool:
        """Whether the owner would call `text` right, as far as is known."""
        if self.right:
            return is_correct(text, self.said)
        if self.answer is not None:
            return is_correct(text, self.answer)
        return not is_correct(text, self.said)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One marked answer that a new version answers otherwise."""

    id: str
    question: str
    before: str
    after: str
    answer: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MarksVerdict:
    """What a new version makes of the marked answers; counts, and a few of each kind."""

    num: int = 0
    num_right_before: int = 0
    num_right: int = 0
    num_fixed: int = 0
    num_broken: int = 0
    fixed: tuple[Change, ...] = ()
    broken: tuple[Change, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether it breaks no more than it fixes."""
        return self.num_broken <= self.num_fixed

    @property
    def detail(self) -> str:
        """In one sentence."""
        return (
            f"of {self.num} answers that the owner marked it fixes {self.num_fixed} and breaks "
            f"{self.num_broken}: right before {self.num_right_before}, after {self.num_right}"
        )

    @property
    def numbers(self) -> dict[str, float]:
        """For the report; empty where nothing was marked."""
        if not self.num:
            return {}
        return {
            "owner_marks": float(self.num),
            "owner_agreement_before": self.num_right_before / self.num,
            "owner_agreement": self.num_right / self.num,
            "owner_fixed": float(self.num_fixed),
            "owner_broken": float(self.num_broken),
        }


def judge_marks(marks: Sequence[Mark], before: Sequence[str], after: Sequence[str]) -> MarksVerdict:
    """Of the answers of the version in force and of a new one, in the order of `marks`."""
    fixed: list[Change] = []
    broken: list[Change] = []
    num_before = num_after = 0
    for mark, old, new in zip(marks, before, after, strict=True):
        was, now = mark.is_right(old), mark.is_right(new)
        num_before += was
        num_after += now
        if was != now:
            (fixed if now else broken).append(
                Change(
                    id=mark.id,
                    question=mark.question,
                    before=old,
                    after=new,
                    answer=mark.known_answer or None,
                )
            )
    return MarksVerdict(
        num=len(marks),
        num_right_before=num_before,
        num_right=num_after,
        num_fixed=len(fixed),
        num_broken=len(broken),
        fixed=tuple(fixed[:NUM_EXAMPLES]),
        broken=tuple(broken[:NUM_EXAMPLES]),
    )
