"""Workers that take one piece after another and stay: who gets which piece, and what is done again.

No piece is given out twice unless the worker that had it was lost; what came back is never asked
again. A worker gets its next piece while it still has one (`DEPTH`), so that it never waits for
this process, and no more than that, so that pieces neither pile up nor wait behind a slow worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from driftline_shared.errors import DriftlineError

Worker = TypeVar("Worker", bound=Hashable)
Ref = TypeVar("Ref", bound=Hashable)
Piece = TypeVar("Piece")
Result = TypeVar("Result")
Taken = TypeVar("Taken", contravariant=True)
Given = TypeVar("Given", covariant=True)

DEPTH = 2
"""Pieces that a worker has at most."""

MAX_TRIES = 4
"""Times that one piece is given out, and that workers in a row may be lost as they start."""


class WorkerLostError(Exception):
    """The worker is gone: its process, its node, its memory."""


class Backend(Protocol[Worker, Ref, Taken, Given]):
    """How workers are started and asked. A `Ref` is what will be there later."""

    def start(self) -> tuple[Worker, Ref]:
        """A new worker, and what is there once it can work."""

    def give(self, worker: Worker, piece: Taken) -> Ref:
        """Have `worker` do `piece` after what it has."""

    def wait(self, refs: Sequence[Ref]) -> Sequence[Ref]:
        """Some of `refs` that are there; none after a while. May raise to end all."""

    def result(self, ref: Ref) -> Given:
        """What is there. Raises WorkerLostError, or what the piece raised."""

    def stop(self, worker: Worker) -> None:
        """End the worker, whatever it does."""


class Pool(Generic[Worker, Ref, Piece, Result]):
    """Workers that stay from call to call. For one thread."""

    def __init__(self, backend: Backend[Worker, Ref, Piece, Result]) -> None:
        self._backend = backend
        self._ready: list[Worker] = []
        self._starting: dict[Ref, Worker] = {}
        self._lost_in_a_row = 0

    @property
    def ready(self) -> tuple[Worker, ...]:
        """Those that can work."""
        return tuple(self._ready)

    def __len__(self) -> int:
        return len(self._ready) + len(self._starting)

    def run(
        self, pieces: Sequence[Piece], most: int, lost: Callable[[int], None] = lambda _: None
    ) -> Generator[tuple[int, Result]]:
        """(index of the piece, its result) as they come, by at most `most` workers at a time.

        `lost` is told the number of pieces that go back when a worker is lost. Left early, or ended
        by an error, workers that have pieces are stopped.
        """
        waiting = deque(range(len(pieces)))
        tries = [0] * len(pieces)
        given: dict[Ref, tuple[Worker, int]] = {}
        try:
            while waiting or given:
                self._grow(min(most, len(waiting) + len(given)))
                self._give_out(pieces, most, waiting, tries, given)
                for ref in self._backend.wait([*given, *self._starting]):
                    if ref in self._starting:
                        self._started(ref)
                    elif ref in given:
                        worker, index = given[ref]
                        try:
                            result = self._backend.result(ref)
                        except WorkerLostError as error:
                            lost(self._lose(worker, waiting, tries, given, error))
                            continue
                        del given[ref]
                        yield index, result
        finally:
            for worker in {worker for worker, _ in given.values()}:
                self._drop(worker)

    def shrink(self, to: int) -> None:
        """Stop workers until so many are left, those that are not ready first."""
        while len(self) > max(to, 0):
            if self._starting:
                _, worker = self._starting.popitem()
            else:
                worker = self._ready.pop()
            self._backend.stop(worker)

    def _grow(self, wanted: int) -> None:
        while len(self) < wanted:
            worker, ref = self._backend.start()
            self._starting[ref] = worker

    def _started(self, ref: Ref) -> None:
        worker = self._starting.pop(ref)
        try:
            self._backend.result(ref)
        except WorkerLostError as error:
            self._backend.stop(worker)
            self._lost_in_a_row += 1
            if self._lost_in_a_row >= MAX_TRIES and not self._ready:
                self._lost_in_a_row = 0
                raise DriftlineError(f"no worker starts: {error}") from error
        except BaseException:
            self._backend.stop(worker)
            raise
        else:
            self._lost_in_a_row = 0
            self._ready.append(worker)

    def _give_out(
        self,
        pieces: Sequence[Piece],
        most: int,
        waiting: deque[int],
        tries: list[int],
        given: dict[Ref, tuple[Worker, int]],
    ) -> None:
        """To whoever has least, so that all have one before any has two."""
        load = dict.fromkeys(self._ready[:most], 0)
        for worker, _ in given.values():
            load[worker] += 1
        while waiting and load:
            worker = min(load, key=lambda one: load[one])
            if load[worker] >= DEPTH:
                return
            index = waiting.popleft()
            tries[index] += 1
            given[self._backend.give(worker, pieces[index])] = (worker, index)
            load[worker] += 1

    def _lose(
        self,
        worker: Worker,
        waiting: deque[int],
        tries: list[int],
        given: dict[Ref, tuple[Worker, int]],
        error: WorkerLostError,
    ) -> int:
        """Its pieces wait again, before all others; how many they were."""
        self._drop(worker)
        back = [ref for ref, (whose, _) in given.items() if whose == worker]
        for ref in reversed(back):
            _, index = given.pop(ref)
            if tries[index] >= MAX_TRIES:
                raise DriftlineError(
                    f"a part of the work was lost with its worker {MAX_TRIES} times: {error}"
                ) from error
            waiting.appendleft(index)
        return len(back)

    def _drop(self, worker: Worker) -> None:
        if worker in self._ready:
            self._ready.remove(worker)
        self._backend.stop(worker)
