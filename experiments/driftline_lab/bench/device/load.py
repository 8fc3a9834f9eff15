"""Threads that ask without a pause, while something else is done or measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Load:
    """What the threads saw: seconds of each request answered, and why the others failed."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def load(ask: Callable[[int], object], threads: int) -> Iterator[Load]:
    """Call `ask` with rising numbers, from 0, 7, 14 ... on by thread, until the block ends."""
    found, stopping = Load(), threading.Event()

    def run(number: int) -> None:
        while not stopping.is_set():
            start = time.perf_counter()
            try:
                ask(number)
            except Exception as error:
                found.failures.append(str(error))
            else:
                found.seconds.append(time.perf_counter() - start)
            number += 1

    running = [threading.Thread(target=run, args=(7 * n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield found
    finally:
        stopping.set()
        for thread in running:
            thread.join()
