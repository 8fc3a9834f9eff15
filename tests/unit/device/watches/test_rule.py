"""Watches as a state machine: what it may never do, and what it must, whatever is seen."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from driftline_device.watches.rule import Firing, Rule, Seen, State, step

ANSWERS = st.lists(
    st.builds(
        lambda answer, gap_s, quiet: (answer, gap_s, quiet),
        st.sampled_from(["yes", "no", "maybe"]),
        st.floats(0.0, 100.0),
        st.booleans(),
    ),
    max_size=40,
)
RUNS = st.integers(1, 4)
COOLDOWNS = st.floats(0.0, 200.0)


def rule(*, in_a_row: int = 1, cooldown_s: float = 0.0, on_change: bool = False) -> Rule:
    def is_yes(answer: str, _: float) -> bool:
        return on_change or answer == "yes"

    return Rule(holds=is_yes, on_change=on_change, in_a_row=in_a_row, cooldown_s=cooldown_s)


def course(
    given_rule: Rule, answers: list[tuple[str, float, bool]], *, quiet: bool = True
) -> list[tuple[Seen, State, Firing | None]]:
    """What was seen, the state after it, and whether it fired."""
    found, state, at_s = [], State(), 1e9
    for answer, gap_s, is_quiet in answers:
        at_s += gap_s
        seen = Seen(answer=answer, uncertainty=0.0, at_s=at_s, quiet=quiet and is_quiet)
        state, firing = step(given_rule, state, seen)
        found.append((seen, state, firing))
    return found


def runs_of(answers: list[str]) -> list[tuple[str, int]]:
    """Answers that are equal in a row, and how many."""
    found: list[tuple[str, int]] = []
    for answer in answers:
        if found and found[-1][0] == answer:
            found[-1] = (answer, found[-1][1] + 1)
        else:
            found.append((answer, 1))
    return found


@given(answers=ANSWERS, in_a_row=RUNS, cooldown_s=COOLDOWNS, on_change=st.booleans())
def test_it_is_silent_in_quiet_hours_and_after_it_fired(
    answers: list[tuple[str, float, bool]], in_a_row: int, cooldown_s: float, on_change: bool
) -> None:
    of = rule(in_a_row=in_a_row, cooldown_s=cooldown_s, on_change=on_change)
    fired = [seen for seen, _, firing in course(of, answers) if firing is not None]
    assert not any(seen.quiet for seen in fired)
    for one, other in pairwise(fired):
        assert other.at_s - one.at_s >= cooldown_s


@given(answers=ANSWERS, in_a_row=RUNS, cooldown_s=COOLDOWNS)
def test_it_fires_only_for_what_lasts_and_once_while_it_does(
    answers: list[tuple[str, float, bool]], in_a_row: int, cooldown_s: float
) -> None:
    found = course(rule(in_a_row=in_a_row, cooldown_s=cooldown_s), answers)
    num_told = 0
    for number, (seen, _, firing) in enumerate(found):
        if seen.answer != "yes":
            num_told = 0
        if firing is not None:
            num_told += 1
            before = [each.answer for each, _, _ in found[: number + 1]][-in_a_row:]
            assert before == ["yes"] * in_a_row
        assert num_told <= 1


@given(answers=ANSWERS, in_a_row=RUNS)
def test_without_pauses_each_time_that_it_lasts_is_told(
    answers: list[tuple[str, float, bool]], in_a_row: int
) -> None:
    found = course(rule(in_a_row=in_a_row), answers, quiet=False)
    lasted = [num for answer, num in runs_of([a for a, _, _ in answers]) if answer == "yes"]
    assert sum(firing is not None for _, _, firing in found) == sum(
        num >= in_a_row for num in lasted
    )


@given(answers=ANSWERS, in_a_row=RUNS, cooldown_s=COOLDOWNS)
def test_what_was_kept_back_is_told_if_it_still_lasts(
    answers: list[tuple[str, float, bool]], in_a_row: int, cooldown_s: float
) -> None:
    of = rule(in_a_row=in_a_row, cooldown_s=cooldown_s)
    for seen, state, _ in course(of, [*answers, *[("yes", 300.0, False)] * in_a_row]):
        last = seen, state
    assert last[1].told


@given(answers=ANSWERS, in_a_row=RUNS)
def test_every_change_that_settles_is_told_with_what_it_was(
    answers: list[tuple[str, float, bool]], in_a_row: int
) -> None:
    found = course(rule(in_a_row=in_a_row, on_change=True), answers, quiet=False)
    stable = [a for a, num in runs_of([a for a, _, _ in answers]) if num >= in_a_row]
    settled = [answer for answer, _ in runs_of(stable)]
    told = [(f.before, seen.answer) for seen, _, f in found if f is not None]
    assert told == list(pairwise(settled))


@given(answers=ANSWERS, in_a_row=RUNS, cooldown_s=COOLDOWNS)
def test_what_changed_back_unseen_is_not_told(
    answers: list[tuple[str, float, bool]], in_a_row: int, cooldown_s: float
) -> None:
    of = rule(in_a_row=in_a_row, cooldown_s=cooldown_s, on_change=True)
    told = [(f.before, seen.answer) for seen, _, f in course(of, answers) if f is not None]
    assert all(before != after for before, after in told)
    for one, other in pairwise(told):
        assert one[1] == other[0]  # what was told last is what the next one differs from


def test_only_changes_of_interest_are_told_and_others_are_remembered() -> None:
    of = Rule(holds=lambda answer, _: answer == "yes", on_change=True)
    answers = [(answer, 1.0, False) for answer in ("no", "yes", "yes", "maybe", "no", "yes")]
    told = [(f.before, seen.answer) for seen, _, f in course(of, answers) if f is not None]
    assert told == [("no", "yes"), ("no", "yes")]


def test_a_clock_that_was_set_back_silences_nothing() -> None:
    of = rule(cooldown_s=60.0)
    state, firing = step(of, State(), Seen(answer="yes", uncertainty=0.0, at_s=2e9))
    assert firing is not None
    state, _ = step(of, state, Seen(answer="no", uncertainty=0.0, at_s=2e9))
    _, firing = step(of, state, Seen(answer="yes", uncertainty=0.0, at_s=1e9))
    assert firing is not None
