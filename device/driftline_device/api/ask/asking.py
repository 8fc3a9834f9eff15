"""A request's way to the model and back, the same for every route that asks.

Every answer goes through `Daemon.ask`, in a thread that stays with the question until it is
sampled: what waits is bounded, and a reply never waits for sampling.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, Protocol, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from driftline_device.api.ask.asked import Asked
from driftline_device.api.ask.call import Call
from driftline_device.api.ask.spoken import Spoken
from driftline_device.api.ask.streams import HEADERS, Frames, events
from driftline_device.api.errors import ApiError
from driftline_device.api.network.bodies import BodyLimits, BodyRoom, read_body
from driftline_device.api.network.places import Places
from driftline_device.api.settings import ApiConfig
from driftline_device.daemon.answering import MOST_UNSAMPLED
from driftline_device.daemon.listener import AnswerListener
from driftline_device.runtime.runtime import Answer, Question

DOMAIN = "api"
"""Domain and segment of questions that come in here."""

LEFT_OUT = "x-driftline-left-out"
"""Header of a reply: what of its request has no effect."""

ANSWERED_BY = "x-driftline-answered-by"
"""Header of a reply that is no stream: `device`, or `cloud` where the teacher's came in time."""

LARGE_BYTES = 1 << 20
"""Of bodies with more bytes, one is read at a time."""

T = TypeVar("T")


class Answering(Protocol):
    """What is asked; safe from any thread."""

    @property
    def ready(self) -> bool:
        """Whether questions are taken now."""

    def ask(self, question: Question, listener: AnswerListener) -> Answer:
        """See `Daemon.ask`."""


class Reply(Frames, Protocol):
    """What a route makes of an answer."""

    def whole(self, spoken: Spoken) -> dict[str, Any]:
        """As one document."""


class Asking:
    """Takes requests; at most `max_waiting` wait for the one being answered."""

    def __init__(self, device: Answering, config: ApiConfig) -> None:
        self._device = device
        self._body = BodyLimits(
            max_bytes=config.max_body_bytes,
            timeout_s=config.body_timeout_s,
            bytes_per_s=config.body_bytes_per_s,
        )
        self._places = Places(config.max_waiting + 1)
        # As much as the questions under way may have brought with them.
        self._body_room = BodyRoom((config.max_waiting + 1) * config.max_body_bytes)
        self._one_large = threading.Lock()
        # A thread for every request under way, and for those whose answers are still being sampled.
        num_threads = config.max_waiting + 1 + MOST_UNSAMPLED
        self._threads = ThreadPoolExecutor(num_threads, "driftline-api-ask")

    def close(self) -> None:
        """Start no more answers; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self,
        request: Request,
        read: Callable[[bytes], Asked],
        reply: Callable[[Asked], Reply],
    ) -> Response:
        """What `request` gets; `read` turns its body into a question, in a thread."""
        asked, call = await self._begin(request, read)
        frames = reply(asked)
        if not asked.stream:
            spoken = await _unless_gone(request, call, call.spoken())
            lacks_likely = asked.num_likely is not None and not spoken.answer.likely
            headers = _headers(asked, lacks_likely=lacks_likely)
            by = {ANSWERED_BY: spoken.answered_by}
            return JSONResponse(frames.whole(spoken), headers={**headers, **by})
        # Until the first word is there, an error can still have its own status.
        first = await _unless_gone(request, call, call.next())
        return StreamingResponse(
            events(frames, call, first),
            media_type="text/event-stream",
            headers={**HEADERS, **_headers(asked)},
        )

    async def _begin(self, request: Request, read: Callable[[bytes], Asked]) -> tuple[Asked, Call]:
        """Read a request and hand it to a thread; it is under way until its reply is there."""
        loop = asyncio.get_running_loop()
        if not self._device.ready:
            raise ApiError(503, "the device is starting or draining", code="not_ready")
        self._places.check()
        body = await read_body(request, self._body, self._body_room)
        # Only now: whoever sends half a body takes nobody's place.
        place = self._places.take()
        try:
            asked = await loop.run_in_executor(self._threads, self._read, read, body)
            question = Question(
                image=asked.image,
                text=asked.question,
                domain=DOMAIN,
                place=DOMAIN,
                num_likely=asked.num_likely,
            )
            call = Call(
                loop,
                max_tokens=asked.max_tokens,
                on_end=place.leave,
                shape=asked.shape,
                # Neither words that were sent nor probabilities of tokens can be the teacher's.
                waits=not asked.stream and asked.num_likely is None,
            )
            loop.run_in_executor(self._threads, call.run, self._device.ask, question)
        except BaseException:
            place.leave()
            raise
        return asked, call

    def _read(self, read: Callable[[bytes], Asked], body: bytes) -> Asked:
        """One large body at a time: its text and its picture take several times as much."""
        with self._one_large if len(body) > LARGE_BYTES else nullcontext():
            return read(body)


def _headers(asked: Asked, *, lacks_likely: bool = False) -> Mapping[str, str]:
    """`lacks_likely`: the runtime gave no probabilities, though they were asked for."""
    left_out = (*asked.left_out, "logprobs") if lacks_likely else asked.left_out
    return {LEFT_OUT: ", ".join(left_out)} if left_out else {}


async def _unless_gone(request: Request, call: Call, reply: Coroutine[Any, Any, T]) -> T:
    """The reply; the call is abandoned if the client goes before."""
    replied = asyncio.ensure_future(reply)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({replied, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not replied.done():
            raise ApiError(499, "the client has gone", code="client_gone")
        return replied.result()
    except BaseException:
        call.abandon()
        raise
    finally:
        gone.cancel()
        replied.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
