"""One answer in the tokens of two vocabularies, and the steps at which both cut it alike.

Needs no torch. Text passes as bytes: what the tokens stand for, leading space included, so that
" red" stays " red" where the other tokenizer can write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from driftline_shared.errors import PairError
from driftline_shared.models.vocabulary.vocabulary import Vocabularies, Vocabulary


class Spelling:
    """Answers as ids of the student's tokenizer and of the teacher's.

    An end token, whichever of a side's it is, becomes the first end token of the other side.
    """

    def __init__(self, vocabularies: Vocabularies) -> None:
        """Raises PairError when a tokenizer.json cannot be used."""
        self._student = _Writer(vocabularies.student)
        self._teacher = _Writer(vocabularies.teacher)

    def to_student(self, teacher_ids: Sequence[int]) -> list[int]:
        """The teacher's answer in the student's tokens."""
        return _respelled(teacher_ids, self._teacher, self._student)

    def to_teacher(self, student_ids: Sequence[int]) -> list[int]:
        """The student's answer in the teacher's tokens."""
        return _respelled(student_ids, self._student, self._teacher)

    def steps(
        self, student_ids: Sequence[int], teacher_ids: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """Indices of the tokens of one answer that begin and end at the same bytes, pairwise.

        The end tokens are such a pair where both texts are the same. Texts that differ by a leading
        space only are compared behind it; the token that holds the space has no partner then.
        """
        ours, theirs = self._student.spans(student_ids), self._teacher.spans(teacher_ids)
        mine, other = self._student.text(student_ids), self._teacher.text(teacher_ids)
        cut = (0, 0)
        if mine != other:
            cut = (len(mine) - len(mine.lstrip(b" ")), len(other) - len(other.lstrip(b" ")))
        mine, other = mine[cut[0] :], other[cut[1] :]
        equal = _common_prefix(mine, other)
        partners = {
            (start - cut[1], end - cut[1]): number for number, (start, end) in theirs.items()
        }
        found: list[tuple[int, int]] = []
        for number, (start, end) in ours.items():
            span = (start - cut[0], end - cut[0])
            if span in partners and span[0] >= 0 and span[1] <= equal:
                found.append((number, partners[span]))
        if mine == other and self._student.ends(student_ids) and self._teacher.ends(teacher_ids):
            found.append((len(student_ids) - 1, len(teacher_ids) - 1))
        return [one for one, _ in found], [one for _, one in found]


class _Writer:
    """One side's tokenizer: ids <-> bytes, without transformers."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        from tokenizers import Tokenizer

        path = vocabulary.dir / "tokenizer.json"
        try:
            tokenizer: Any = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise PairError(f"{path} cannot be used: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    @property
    def end(self) -> int:
        return self._vocabulary.ends[0]

    def ends(self, ids: Sequence[int]) -> bool:
        """Whether the answer came to its end."""
        return len(ids) > 0 and ids[-1] in self._vocabulary.ends

    def text(self, ids: Sequence[int]) -> bytes:
        """What the ids stand for, markers and end tokens left out."""
        return b"".join(self._piece(i) for i in ids)

    def spans(self, ids: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Number of a token that is text -> its first byte and the one behind its last."""
        found, at = {}, 0
        for number, i in enumerate(ids):
            size = len(self._piece(i))
            if size:
                found[number] = (at, at + size)
            at += size
        return found

    def ids(self, raw: bytes) -> list[int]:
        """Tokens that stand for exactly `raw` where there are any, else for its stripped text.

        Some tokenizers put a space before a text by themselves: those are given one less.
        """
        text = raw.decode("utf-8", errors="ignore")
        for one in dict.fromkeys((text, text.removeprefix(" "))):
            found = self._encoded(one)
            if self.text(found) == raw:
                return found
        return self._encoded(text.strip())

    def _encoded(self, text: str) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        # A text may spell a marker; as one token it would not be text any more.
        held = self._vocabulary
        return [int(i) for i in ids if i in held.pieces and i not in held.ends]

    def _piece(self, i: int) -> bytes:
        held = self._vocabulary
        return b"" if i in held.ends else held.pieces.get(i, b"")


def _respelled(ids: Sequence[int], source: _Writer, target: _Writer) -> list[int]:
    return target.ids(source.text(ids)) + ([target.end] if source.ends(ids) else [])


def _common_prefix(one: bytes, other: bytes) -> int:
    same = min(len(one), len(other))
    return next((n for n in range(same) if one[n] != other[n]), same)
