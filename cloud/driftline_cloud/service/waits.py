"""How long a stream may stand still, and how streams end when the cloud goes down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from driftline_shared.errors import LinkError, Reason

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamLimits:
    """Seconds: `idle_s` without a message from a device, `write_s` until it takes one of ours,
    `call_s` for a call with one answer.
    """

    idle_s: float = 600.0
    write_s: float = 120.0
    call_s: float = 30.0


class Draining:
    """Set once, when the cloud stops: idle streams end at once, work in hand is finished."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def begin(self) -> None:
        """End the idle streams."""
        self._event.set()

    async def first(self, wanted: Awaitable[T], seconds: float) -> T:
        """The result of `wanted`; `LinkError` (unreachable) when the cloud stops first.

        TimeoutError after `seconds`.
        """
        task = asyncio.ensure_future(wanted)
        end = asyncio.ensure_future(self._event.wait())
        try:
            done, _ = await asyncio.wait(
                {task, end}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if task in done:
                return task.result()
            if end in done:
                raise LinkError("the cloud is stopping", reason=Reason.UNREACHABLE)
            raise TimeoutError
        finally:
            for one in (task, end):
                if not one.done():
                    one.cancel()
