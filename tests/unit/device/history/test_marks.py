"""What the owner marked, and what a new version makes of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftline_device.history.marks import Mark, MarksVerdict, judge_marks

WRONG = Mark(id="a", unix_s=0, question="what color?", said="red", right=False, answer="blue")
JUST_WRONG = Mark(id="b", unix_s=0, question="what shape?", said="circle", right=False)
RIGHT = Mark(id="c", unix_s=0, question="is it open?", said="yes", right=True)


def test_what_the_owner_said_decides_what_is_right() -> None:
    assert WRONG.is_right(" Blue. ") and not WRONG.is_right("green")
    assert JUST_WRONG.is_right("square") and not JUST_WRONG.is_right("circle")
    assert RIGHT.is_right("yes") and not RIGHT.is_right("no")


def test_fixed_and_broken_answers_are_told_apart() -> None:
    marks = [WRONG, JUST_WRONG, RIGHT]
    verdict = judge_marks(marks, ["red", "circle", "yes"], ["blue", "circle", "no"])
    assert (verdict.num_right_before, verdict.num_right) == (1, 1)
    assert [change.id for change in verdict.fixed] == ["a"]
    assert [(change.id, change.answer) for change in verdict.broken] == [("c", "yes")]
    assert verdict.accepted  # one for one is no reason to refuse
    assert "fixes 1 and breaks 1" in verdict.detail
    assert verdict.numbers["owner_agreement"] == 1 / 3


def test_breaking_more_than_it_fixes_is_refused() -> None:
    assert not judge_marks([RIGHT], ["yes"], ["no"]).accepted


def test_nothing_marked_is_no_obstacle() -> None:
    assert MarksVerdict().accepted and MarksVerdict().numbers == {}


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_the_counts_add_up(answers: list[tuple[bool, bool]]) -> None:
    words = {True: "yes", False: "no"}
    verdict = judge_marks(
        [RIGHT] * len(answers),
        [words[before] for before, _ in answers],
        [words[after] for _, after in answers],
    )
    assert verdict.num_right - verdict.num_right_before == verdict.num_fixed - verdict.num_broken
    assert verdict.accepted == (verdict.num_right >= verdict.num_right_before)
    assert len(verdict.fixed) <= 3 and len(verdict.broken) <= 3
