"""Pieces go to workers that stay: each result once, whoever is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.workers.pool import DEPTH, MAX_TRIES, Pool, WorkerLostError
from driftline_shared.errors import DriftlineError


class FakeBackend:
    """Workers are numbers; a reference is (worker, number of the call, piece), and -1 its start.

    `losses`: for each answer in turn, whether its worker is lost instead. Answers come in the order
    in which they were asked, one at a time.
    """

    def __init__(self, losses: Sequence[bool] = (), *, starts: bool = True) -> None:
        self._losses = list(losses)
        self._starts = starts
        self._calls = 0
        self.started = 0
        self.alive: set[int] = set()
        self.asked: list[int] = []
        self.given: list[tuple[int, int, int]] = []
        self.most_at_once = 0

    def start(self) -> tuple[int, tuple[int, int, int]]:
        self.started += 1
        self.alive.add(self.started)
        return self.started, (self.started, 0, -1)

    def give(self, worker: int, piece: int) -> tuple[int, int, int]:
        assert worker in self.alive
        self._calls += 1
        self.asked.append(piece)
        self.given.append((worker, self._calls, piece))
        return self.given[-1]

    def wait(self, refs: Sequence[tuple[int, int, int]]) -> Sequence[tuple[int, int, int]]:
        load: dict[int, int] = {}
        for worker, _, piece in refs:
            load[worker] = load.get(worker, 0) + (piece >= 0)
        assert max(load.values()) <= DEPTH
        self.most_at_once = max(self.most_at_once, len(load))
        return [min(refs, key=lambda ref: ref[1])]

    def result(self, ref: tuple[int, int, int]) -> int:
        worker, _, piece = ref
        if piece < 0:
            if not self._starts:
                raise WorkerLostError("no memory")
            return 0
        if piece == 13:
            raise ValueError("a broken piece")
        if worker not in self.alive or (self._losses and self._losses.pop(0)):
            self.alive.discard(worker)
            raise WorkerLostError("killed")
        return piece * piece

    def stop(self, worker: int) -> None:
        self.alive.discard(worker)


def run(backend: FakeBackend, pieces: list[int], most: int) -> dict[int, int]:
    found = list(Pool(backend).run(pieces, most))
    assert len(found) == len(dict(found))
    return dict(found)


@given(st.integers(0, 12), st.integers(1, 5), st.lists(st.booleans(), max_size=3))
def test_every_piece_comes_back_once(count: int, most: int, losses: list[bool]) -> None:
    backend = FakeBackend(losses)
    pieces = list(range(count))
    assert run(backend, pieces, most) == {piece: piece * piece for piece in pieces}
    assert backend.most_at_once <= most
    if not any(losses):
        assert sorted(backend.asked) == pieces


def test_workers_stay_from_call_to_call_and_give_way() -> None:
    backend = FakeBackend()
    pool = Pool(backend)
    assert len(dict(pool.run([1, 2, 3, 4], 2))) == len(dict(pool.run([5, 6, 7], 2))) + 1
    assert backend.started == 2
    assert len({worker for worker, _, _ in backend.given[-3:]}) == 2
    dict(pool.run([8, 9, 10], 1))
    assert len({worker for worker, _, _ in backend.given[-3:]}) == 1
    pool.shrink(1)
    assert (len(pool), len(backend.alive)) == (1, 1)
    assert dict(pool.run([1, 2], 2)) == {0: 1, 1: 4}
    assert backend.started == 3


def test_a_piece_that_takes_its_worker_along_ends_the_work() -> None:
    backend = FakeBackend([True] * MAX_TRIES)
    with pytest.raises(DriftlineError, match="lost with its worker 4 times"):
        run(backend, [1], 1)
    assert backend.asked == [1] * MAX_TRIES


def test_workers_that_never_start_end_the_work() -> None:
    backend = FakeBackend(starts=False)
    with pytest.raises(DriftlineError, match="no worker starts: no memory"):
        run(backend, [1], 2)
    assert not backend.alive


def test_what_a_piece_raises_is_raised_and_nothing_works_on() -> None:
    backend = FakeBackend()
    with pytest.raises(ValueError, match="a broken piece"):
        run(backend, [1, 13, 2, 3], 2)
    assert not backend.alive


def test_left_early_the_workers_with_pieces_are_stopped() -> None:
    backend = FakeBackend()
    pool = Pool(backend)
    results = pool.run([1, 2, 3, 4], 1)
    next(results)
    results.close()
    assert not backend.alive
    assert dict(pool.run([5], 1)) == {0: 25}
