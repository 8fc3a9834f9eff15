"""Jobs share a turn; each gets its own result or its own error, whoever did the work."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from driftline_cloud.intake.writing.turns import SharedTurns


def test_each_thread_gets_its_own_result() -> None:
    turns: SharedTurns[int, int] = SharedTurns(lambda jobs: [2 * job for job in jobs], most=5)
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(turns.do, range(300))) == [2 * job for job in range(300)]


def test_who_waits_while_one_works_shares_the_next_turn() -> None:
    sizes: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def together(jobs: Sequence[int]) -> Sequence[int]:
        sizes.append(len(jobs))
        begun.set()
        assert go.wait(10)
        return jobs

    turns: SharedTurns[int, int] = SharedTurns(together, most=32)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(turns.do, 0)
        assert begun.wait(10)
        others = [threads.submit(turns.do, number) for number in range(1, 8)]
        while len(turns._queue) < 7:
            pass
        go.set()
        assert [one.result(10) for one in (first, *others)] == list(range(8))
    assert sizes == [1, 7]


def test_one_jobs_failure_is_its_own() -> None:
    def together(jobs: Sequence[int]) -> Sequence[int]:
        if 3 in jobs:
            raise ValueError("three")
        return jobs

    turns: SharedTurns[int, int] = SharedTurns(together, most=8)
    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(turns.do, number) for number in range(40)]
        for number, one in enumerate(found):
            if number == 3:
                with pytest.raises(ValueError, match="three"):
                    one.result(10)
            else:
                assert one.result(10) == number
