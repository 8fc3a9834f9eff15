"""One question on its way: between the thread that answers and the event loop that replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from driftline_device.api.errors import ApiError, api_error
from driftline_device.api.replies import Spoken
from driftline_device.daemon.asking import Asker, UnheardError
from driftline_device.runtime.runtime import Answer
from driftline_device.sources.source import Observation

Ask = Callable[[Observation, Asker], Answer]


class Call:
    """An `Asker` whose hearer sits in `loop`. `max_tokens`: how much of the answer it wants.

    The model always answers in full, up to the pair's bound: that is what sampling looks at.
    `on_end` is called in the loop once there is nothing more to hear.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        max_tokens: int | None,
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._on_end = on_end
        self._max_tokens = max_tokens
        self._heard: asyncio.Queue[str | Spoken | ApiError] = asyncio.Queue()
        self._abandoned = False
        self._cut = ""
        self._num_told = 0

    # -- in the loop -------------------------------------------------------------------------

    async def next(self) -> str | Spoken:
        """The text so far, or at last the whole answer; ApiError if there is none to come."""
        heard = await self._heard.get()
        if isinstance(heard, ApiError):
            raise heard
        return heard

    async def spoken(self) -> Spoken:
        """The whole answer."""
        while isinstance(heard := await self.next(), str):
            pass
        return heard

    def abandon(self) -> None:
        """Nobody waits any more; the model stops at its next token."""
        self._abandoned = True

    # -- in the thread that answers ----------------------------------------------------------

    def run(self, ask: Ask, observation: Observation) -> None:
        """Ask, from the first word to the end of sampling; never raises."""
        try:
            ask(observation, self)
        except UnheardError:
            self._later(self._on_end)
        except Exception as error:
            self._hear(api_error(error))

    def began(self) -> None:
        """See `Asker`."""
        if self._abandoned:
            raise UnheardError
        self._cut, self._num_told = "", 0

    def told(self, text: str) -> None:
        """See `Asker`."""
        if self._abandoned:
            raise UnheardError
        self._num_told += 1
        if self._max_tokens is None or self._num_told <= self._max_tokens:
            self._cut = text
            self._hear(text)

    def answered(self, answer: Answer) -> None:
        """See `Asker`."""
        limit = self._max_tokens
        if limit is not None and limit < answer.num_steps:
            spoken = Spoken(text=self._cut, finish="length", num_tokens=limit, answer=answer)
        else:
            spoken = Spoken(
                text=answer.text,
                finish="stop" if answer.ended else "length",
                num_tokens=answer.num_steps,
                answer=answer,
            )
        self._hear(spoken)

    def _hear(self, what: str | Spoken | ApiError) -> None:
        self._later(partial(self._heard.put_nowait, what))
        if not isinstance(what, str):
            self._later(self._on_end)

    def _later(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed: the server is gone
            self._abandoned = True
