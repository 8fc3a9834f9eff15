"""Batches of a source, and when each is due."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_device.daemon.pacing import Pacer, batch_size, batches
from driftline_device.runtime.runtime import Question
from tests.fakes.clock import FakeClock


def row(number: int) -> Question:
    return Question(image=np.zeros((1, 1, 3), np.uint8), text=str(number), place="here")


@pytest.mark.parametrize(
    ("pace", "expected"), [(0.0, 8), (0.5, 1), (4.0, 1), (12.0, 3), (100.0, 8)]
)
def test_a_live_stream_does_not_wait_for_a_batch(pace: float, expected: int) -> None:
    assert batch_size(8, pace) == expected


def test_a_source_with_nothing_for_now_ends_a_batch() -> None:
    rows = [row(0), row(1), row(2), None, None, row(3)]
    found = [[each.text for each in batch] for batch in batches(rows, lambda: 2)]
    assert found == [["0", "1"], ["2"], [], ["3"]]


def test_a_new_size_holds_from_the_next_row() -> None:
    sizes = iter([3, 3, 1, 1, 1])
    found = [len(batch) for batch in batches([row(n) for n in range(5)], lambda: next(sizes))]
    assert found == [3, 1, 1]


def test_questions_are_spread_over_time() -> None:
    clock = FakeClock()
    pacer = Pacer(clock)
    pacer.count(4)
    assert pacer.wait_s(2.0) == pytest.approx(2.0)
    clock.sleep(2.0)
    assert pacer.wait_s(2.0) == pytest.approx(0.0)
    pacer.count(2)
    assert pacer.wait_s(2.0) == pytest.approx(1.0)
    assert pacer.wait_s(0.0) <= 0


def test_a_new_pace_does_not_rush_to_catch_up() -> None:
    clock = FakeClock()
    pacer = Pacer(clock)
    pacer.count(10)
    assert pacer.wait_s(1.0) == pytest.approx(10.0)
    clock.sleep(5.0)
    assert pacer.wait_s(100.0) == pytest.approx(0.0)
    pacer.count(50)
    assert pacer.wait_s(100.0) == pytest.approx(0.5)
