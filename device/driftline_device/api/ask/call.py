"""One question on its way: between the thread that answers and the event loop that replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from driftline_device.api.ask.shape import Shape
from driftline_device.api.ask.spoken import Spoken
from driftline_device.api.errors import ApiError, api_error
from driftline_device.daemon.listener import AbandonedError, AnswerListener
from driftline_device.runtime.likely import LikelyStep
from driftline_device.runtime.runtime import Answer, Question
from driftline_shared.status import Correction

_AS_IT_IS = Shape()

Ask = Callable[[Question, AnswerListener], Answer]


class Call:
    """The listener of a client served in `loop`. `max_tokens`: how much of the answer it wants;
    `shape`: how. `waits`: it can wait for the teacher's answer, for it gets all at once.

    The model always answers in full, up to the pair's bound: that is what sampling looks at.
    `on_end` is called in the loop once there is nothing more to send.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        max_tokens: int | None,
        on_end: Callable[[], None],
        shape: Shape = _AS_IT_IS,
        waits: bool = False,
    ) -> None:
        self._loop = loop
        self._on_end = on_end
        self._max_tokens = max_tokens
        self._shape = shape
        self.waits = waits
        self._replies: asyncio.Queue[str | Spoken | ApiError] = asyncio.Queue()
        self._abandoned = False
        self._cut = ""
        self._num_tokens = 0

    # -- in the loop ------------------------------------------------------------------------------

    async def next(self) -> str | Spoken:
        """The text so far, or at last the whole answer; ApiError if there is none to come."""
        reply = await self._replies.get()
        if isinstance(reply, ApiError):
            raise reply
        return reply

    async def spoken(self) -> Spoken:
        """The whole answer."""
        while isinstance(reply := await self.next(), str):
            pass
        return reply

    def abandon(self) -> None:
        """Nobody waits any more; the model stops at its next token."""
        self._abandoned = True

    # -- in the thread that answers ---------------------------------------------------------------

    def run(self, ask: Ask, question: Question) -> None:
        """Ask, from the first word to the end of sampling; never raises."""
        try:
            ask(question, self)
        except AbandonedError:
            self._later(self._on_end)
        except Exception as error:
            self._put(api_error(error))

    def on_start(self) -> None:
        """See `AnswerListener`."""
        if self._abandoned:
            raise AbandonedError
        self._cut, self._num_tokens = "", 0

    def on_text(self, text: str) -> None:
        """See `AnswerListener`."""
        if self._abandoned:
            raise AbandonedError
        self._num_tokens += 1
        if self._max_tokens is None or self._num_tokens <= self._max_tokens:
            self._cut = text
            shown = self._shape.growing(text)
            if shown:
                self._put(shown)

    def on_wait(self) -> None:
        """See `AnswerListener`."""
        if self._abandoned:
            raise AbandonedError

    def on_answer(self, answer: Answer, correction: Correction | None = None) -> None:
        """See `AnswerListener`. Where `max_tokens` cuts the answer, it is the device's."""
        limit = self._max_tokens
        is_cut = limit is not None and limit < answer.num_steps
        correction = None if is_cut else correction
        whole = answer.text if correction is None else correction.answer
        try:
            dressed, stopped = self._shape.whole(self._cut if is_cut else whole)
        except ApiError as error:  # it does not fit the format that is asked for
            self._put(error)
            return
        self._put(
            Spoken(
                text=dressed.text,
                finish="stop"
                if stopped or correction or (answer.ended and not is_cut)
                else "length",
                num_tokens=limit if is_cut and limit is not None else answer.num_steps,
                answer=answer,
                notes=dressed.notes,
                steps=_steps(answer, limit, dressed.text if stopped else None),
                correction=correction,
            )
        )

    def _put(self, what: str | Spoken | ApiError) -> None:
        self._later(partial(self._give, what))

    def _give(self, what: str | Spoken | ApiError) -> None:
        self._replies.put_nowait(what)
        if not isinstance(what, str):
            # In one step: whoever has the last word asks again at once and must find room.
            self._on_end()

    def _later(self, call: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed: the server is gone
            self._abandoned = True


def _steps(answer: Answer, most: int | None, stopped: str | None) -> tuple[LikelyStep, ...]:
    """The steps whose tokens the client gets: `most` of them, and up to the text at which a stop
    sequence ended it (None: none did). An end token is no text.
    """
    kept, text = [], ""
    for step in answer.likely[:most]:
        if step.ends or (stopped is not None and len(text) >= len(stopped)):
            break
        kept.append(step)
        text += step.written.text
    return tuple(kept)
