"""Steps lie where they should, whatever the batches are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftline_device.daemon.steps import Steps


@given(st.integers(1, 50), st.integers(0, 200), st.lists(st.integers(1, 20), min_size=1))
def test_steps_come_after_so_many_questions_and_at_the_end(every, num, wanted) -> None:
    steps, answered, found = Steps(every), 0, []
    for turn in range(num + 1):
        if steps.due:
            found.append((steps.number, answered))
            steps.passed()
        size = min(steps.most(wanted[turn % len(wanted)]), num - answered)
        if not size:
            break
        answered += size
        steps.count(size)
    steps.end()
    if steps.due:
        found.append((steps.number, answered))
    places = [*range(0, num + 1, every), *([num] if num % every else [])]
    assert found == list(enumerate(places))


def test_without_steps_nothing_is_due() -> None:
    steps = Steps(0)
    assert (steps.on, steps.due, steps.number, steps.most(8)) == (False, False, None, 8)
    steps.count(1000)
    steps.end()
    assert not steps.due
