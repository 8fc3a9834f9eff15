"""Where in a prompt the question's own words lie, told from token ids alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionWords:
    """Of the tokens behind the image, the template's: `before` the question and `behind` it."""

    before: int
    behind: int

    @staticmethod
    def of_template(ids_of: Callable[[str], Sequence[int]]) -> QuestionWords:
        """`ids_of`: the tokens behind the image of a prompt that asks this question.

        What two questions that share no token have in common is the template's. Where a tokenizer
        merges the end of a question with the template, the merged token is the question's.
        """
        one, other = list(ids_of("a")), list(ids_of("?"))
        before = _num_equal(one, other)
        return QuestionWords(
            before=before, behind=_num_equal(one[before:][::-1], other[before:][::-1])
        )

    def places(self, start: int, end: int) -> range:
        """Places of the question's own words, where the text behind the image is at `start` to
        `end`; all of them if no word is its own (an empty question).
        """
        own = range(start + self.before, end - self.behind)
        return own if len(own) else range(start, end)


def _num_equal(one: Sequence[int], other: Sequence[int]) -> int:
    """How many items two sequences begin alike with."""
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return number
    return min(len(one), len(other))
