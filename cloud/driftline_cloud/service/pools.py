"""Blocking work off the event loop: a pool of threads for each kind, with fair turns in it.

One kind of work never waits for another: a flood of samples leaves the threads of Check and Enrol
alone. Within a kind callers take turns, and one of them holds so many threads at most, so whoever
asks much waits for themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from driftline_cloud.limits import PoolSettings
from driftline_shared.errors import LinkError, Reason

T = TypeVar("T")


class FairPool:
    """Runs calls in `size` threads, one caller after the other. Used from one event loop."""

    def __init__(
        self, name: str, size: int, *, per_caller: int = 1, waiting_per_caller: int = 64
    ) -> None:
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._size, self._per_caller = size, per_caller
        self._waiting_per_caller = waiting_per_caller
        self._num_running = 0
        self._running: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def run(self, caller: str, call: Callable[..., T], *args: Any) -> T:
        """`call(*args)` in a thread, when it is the turn of `caller`.

        LinkError (rate_exceeded) where too many of its calls wait already.
        """
        await self._turn(caller)
        context = contextvars.copy_context()
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, partial(context.run, call, *args)
        )
        # A thread cannot be cancelled: its place is free when it has ended, not when a caller left.
        work.add_done_callback(lambda _: self._ended(caller))
        return await asyncio.shield(work)

    def close(self) -> None:
        """Let the threads go once they have nothing to do."""
        self._threads.shutdown(wait=False)

    async def _turn(self, caller: str) -> None:
        queue = self._waiting.get(caller)
        if queue is None and self._has_room(caller):
            self._begin(caller)
            return
        if queue is not None and len(queue) >= self._waiting_per_caller:
            raise LinkError(
                f"{len(queue)} calls of this caller wait already", reason=Reason.RATE_EXCEEDED
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._ended(caller)  # it was given a place just now
            else:
                self._leave(caller, turn)
            raise

    def _leave(self, caller: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(caller)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._waiting[caller]

    def _has_room(self, caller: str) -> bool:
        own = self._running.get(caller, 0)
        return self._num_running < self._size and own < self._per_caller

    def _begin(self, caller: str) -> None:
        self._num_running += 1
        self._running[caller] = self._running.get(caller, 0) + 1

    def _ended(self, caller: str) -> None:
        self._num_running -= 1
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        for name in list(self._waiting):
            if self._num_running >= self._size:
                return
            if self._has_room(name):
                self._hand_over(name)

    def _hand_over(self, caller: str) -> None:
        """Give the next call of `caller` its place; the caller goes to the end of the line."""
        queue = self._waiting[caller]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                self._begin(caller)
                turn.set_result(None)
                break
        if queue:
            self._waiting.move_to_end(caller)
        else:
            del self._waiting[caller]


class Pools:
    """The pools of one server."""

    def __init__(self, settings: PoolSettings) -> None:
        def pool(name: str, size: int) -> FairPool:
            return FairPool(
                name,
                size,
                per_caller=settings.per_caller,
                waiting_per_caller=settings.waiting_per_caller,
            )

        self.control = pool("control", settings.control)
        self.uplink = pool("uplink", settings.uplink)
        self.downlink = pool("downlink", settings.downlink)

    def close(self) -> None:
        """Let all threads go."""
        for one in (self.control, self.uplink, self.downlink):
            one.close()
