"""What a self-check of few questions says by luck, the rest of the set decides."""

from __future__ import annotations

import pytest

from driftline_device.updates.probe import Measured, ProbeLimits, judge, run_probe
from driftline_shared.errors import Reason
from driftline_shared.pair.pair import ProbeItem
from tests.fakes.runtime import WORDS, FakeRuntime, adapter, picture

NUM = 154


def lost(*places: range, limits: ProbeLimits | None = None) -> tuple[Measured, Reason | None]:
    """A candidate that loses exactly the questions at `places` of a set of `NUM`."""
    hard = {number for place in places for number in place}
    questions = [
        ProbeItem(
            image=picture(number, hard=number in hard, noise=number),
            question="what?",
            answer=WORDS[number % len(WORDS)],
        )
        for number in range(NUM)
    ]
    active, candidate = FakeRuntime(adapter(skill=1.0), 1), FakeRuntime(adapter(), -1)
    limits = limits or ProbeLimits(latency_slack_ms=1e6)
    before, after = run_probe(active, candidate, questions, limits=limits)
    assert (before.agreement, before.num_asked) == (1.0, after.num_asked)
    return after, judge(before, after, limits).reason


@pytest.mark.parametrize("num_lost", [0, 3])
def test_a_version_that_loses_little_is_asked_the_first_questions_alone(num_lost: int) -> None:
    measured, reason = lost(range(num_lost))
    assert (measured.num_asked, reason) == (64, None)


def test_four_lost_of_64_pass_where_the_rest_of_the_set_says_it_was_luck() -> None:
    measured, reason = lost(range(4))
    assert (measured.num_asked, measured.num_agree, reason) == (NUM, NUM - 4, None)


def test_what_loses_as_much_of_the_rest_is_refused() -> None:
    measured, reason = lost(range(4), range(64, 68))
    assert (measured.num_asked, measured.num_agree) == (NUM, NUM - 8)
    assert reason is Reason.PROBE_DISAGREES


@pytest.mark.parametrize(("most", "num_asked"), [(0, 64), (64, 64), (100, 100), (500, NUM)])
def test_how_many_decide_in_doubt_is_bounded(most: int, num_asked: int) -> None:
    limits = ProbeLimits(latency_slack_ms=1e6, max_in_doubt=most)
    measured, reason = lost(range(32), limits=limits)
    assert (measured.num_asked, measured.num_agree) == (num_asked, num_asked - 32)
    assert reason is Reason.PROBE_DISAGREES
