"""Looks that many callers share: one runs at a time, and who asks meanwhile shares the next one.

A fleet asks the same question all the time, and each look takes a thread. What a caller is given
is never older than its call, and the more callers there are the fewer looks each costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedLooks(Generic[T]):
    """Looks by key. Used from one event loop."""

    def __init__(self, look: Callable[[str], Awaitable[T]]) -> None:
        self._look = look
        self._next: dict[str, asyncio.Future[T]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def fresh(self, key: str) -> T:
        """What a look at `key` found that began after this call; raises what it raised."""
        wanted = self._next.get(key)
        if wanted is None:
            wanted = self._next[key] = asyncio.get_running_loop().create_future()
            if key not in self._running:
                self._running[key] = asyncio.create_task(self._run(key))
        return await asyncio.shield(wanted)  # one that leaves takes it from nobody

    async def _run(self, key: str) -> None:
        try:
            while (wanted := self._next.pop(key, None)) is not None:
                try:
                    wanted.set_result(await self._look(key))
                except Exception as error:
                    wanted.set_exception(error)
                    wanted.exception()  # whoever wanted it may have left
        finally:
            del self._running[key]
