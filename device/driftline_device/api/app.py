"""The local API: OpenAI's chat completions with images, and how the device is.

    POST /v1/chat/completions   one question about one image; `stream` gives server-sent events
    GET  /v1/models             the pair, with the adapter version in force
    GET  /health                the process lives (no token asked for)
    GET  /ready                 the model is loaded and takes questions (no token asked for)
    GET  /status                the snapshot
    GET  /metrics               Prometheus

Every answer goes through `Daemon.ask`, in a thread that stays with the question until it is
sampled: what waits is bounded, and a reply never waits for sampling.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from driftline_device.api.access import Access
from driftline_device.api.call import Call
from driftline_device.api.errors import ApiError, handle_errors
from driftline_device.api.network.bodies import BodyLimits, BodyRoom, ReadToTheEnd, read_body
from driftline_device.api.network.paths import Tidied
from driftline_device.api.network.places import Places
from driftline_device.api.owner.routes import OwnerRoutes
from driftline_device.api.question import Asked, read_question
from driftline_device.api.replies import LAST_EVENT, Completion, Spoken, event, model
from driftline_device.api.settings import ApiConfig, Key
from driftline_device.daemon.answering import MOST_UNSAMPLED
from driftline_device.daemon.listener import AnswerListener
from driftline_device.daemon.snapshot import Snapshot
from driftline_device.history.history import History
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.show.metrics import SnapshotCollector

DOMAIN = "api"
"""Domain and segment of questions that come in here."""


READ = ["GET", "HEAD"]
"""Whoever watches a device often asks for heads alone; the server leaves out the bodies."""

T = TypeVar("T")


class Device(Protocol):
    """What the API needs of the daemon; safe from any thread."""

    @property
    def ready(self) -> bool:
        """Whether questions are taken now."""

    def ask(self, question: Question, listener: AnswerListener) -> Answer:
        """See `Daemon.ask`."""

    def snapshot(self) -> Snapshot:
        """The daemon now."""


class Api:
    """The routes over one device. `close` ends the threads that answer."""

    def __init__(
        self,
        device: Device,
        config: ApiConfig,
        *,
        key: Key,
        max_pixels: int,
        history: History | None = None,
    ) -> None:
        """`max_pixels`: of one image. `history`: its pages are served, too."""
        self._history = history
        self._device = device
        self._max_pixels = max_pixels
        self._body = BodyLimits(
            max_bytes=config.max_body_bytes,
            timeout_s=config.body_timeout_s,
            bytes_per_s=config.body_bytes_per_s,
        )
        self._created = int(time.time())
        self._places = Places(config.max_waiting + 1)
        # As much as the questions under way may have brought with them.
        self._body_room = BodyRoom((config.max_waiting + 1) * config.max_body_bytes)
        # A thread for every request under way, and for those whose answers are still being sampled.
        num_threads = config.max_waiting + 1 + MOST_UNSAMPLED
        self._threads = ThreadPoolExecutor(num_threads, "driftline-api-ask")
        now = device.snapshot()
        self._pair, self._base_model = now.pair, now.base_model
        self._metrics = CollectorRegistry()
        self._metrics.register(SnapshotCollector(device.snapshot))
        self.app = self._routes(key)

    def close(self) -> None:
        """Start no more answers; those under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _routes(self, key: Key) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        app.add_middleware(ReadToTheEnd)
        app.add_middleware(Tidied)
        handle_errors(app)
        closed = [Depends(Access(key))]
        app.add_api_route("/health", self._health, methods=READ)
        app.add_api_route("/ready", self._ready, methods=READ)
        for path, route in (
            ("/status", self._status),
            ("/metrics", self._show_metrics),
            ("/v1/models", self._models),
            ("/v1/models/{name}", self._model),
        ):
            app.add_api_route(path, route, methods=READ, dependencies=closed)
        app.add_api_route(
            "/v1/chat/completions",
            self._chat,
            methods=["POST"],
            dependencies=closed,
            response_model=None,
        )
        if self._history is not None:
            app.include_router(OwnerRoutes(self._history, self._device.snapshot).router(key))
        return app

    # -- how the device is ------------------------------------------------------------------------

    async def _health(self) -> dict[str, str]:
        return {"status": "ok"}

    async def _ready(self) -> JSONResponse:
        ready = self._device.ready
        status = "ready" if ready else "not ready: starting or draining"
        return JSONResponse({"status": status}, status_code=200 if ready else 503)

    # Not coroutines: they read the spool, and so run in a thread of their own.

    def _status(self) -> JSONResponse:
        return JSONResponse(asdict(self._device.snapshot()))

    def _show_metrics(self) -> Response:
        return Response(generate_latest(self._metrics), media_type=CONTENT_TYPE_LATEST)

    def _models(self) -> dict[str, Any]:
        return {"object": "list", "data": [model(self._device.snapshot(), self._created)]}

    def _model(self, name: str) -> dict[str, Any]:
        if name != self._pair:
            raise ApiError(
                404,
                f"the model {name[:100]!r} does not exist here: this device runs {self._pair!r}",
                code="model_not_found",
                param="model",
            )
        return model(self._device.snapshot(), self._created)

    # -- answers ----------------------------------------------------------------------------------

    async def _chat(self, request: Request) -> Response:
        asked, call = await self._begin(request)
        completion = Completion(pair=self._pair, base_model=self._base_model)
        if not asked.stream:
            return JSONResponse(completion.whole(await _unless_gone(request, call, call.spoken())))
        # Until the first word is there, an error can still have its own status.
        first = await _unless_gone(request, call, call.next())
        return StreamingResponse(
            _events(completion, call, first, include_usage=asked.include_usage),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    async def _begin(self, request: Request) -> tuple[Asked, Call]:
        """Read a request and hand it to a thread; it is under way until its reply is there."""
        loop = asyncio.get_running_loop()
        if not self._device.ready:
            raise ApiError(503, "the device is starting or draining", code="not_ready")
        self._places.check()
        body = await read_body(request, self._body, self._body_room)
        # Only now: whoever sends half a body takes nobody's place.
        place = self._places.take()
        try:
            asked: Asked = await loop.run_in_executor(
                self._threads,
                lambda: read_question(body, pair=self._pair, max_pixels=self._max_pixels),
            )
            question = Question(image=asked.image, text=asked.question, domain=DOMAIN, place=DOMAIN)
            call = Call(loop, max_tokens=asked.max_tokens, on_end=place.leave)
            loop.run_in_executor(self._threads, call.run, self._device.ask, question)
        except BaseException:
            place.leave()
            raise
        return asked, call


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


async def _events(
    completion: Completion, call: Call, first: str | Spoken, *, include_usage: bool
) -> AsyncIterator[bytes]:
    """The answer as it grows. What was sent cannot be taken back: an answer that was started anew,
    by another version, goes on only where it says the same.
    """
    sent, reply = "", first
    try:
        yield event(completion.opening())
        while True:
            text = reply if isinstance(reply, str) else reply.text
            if text.startswith(sent):
                if text != sent:
                    yield event(completion.more(text[len(sent) :]))
                    sent = text
            elif isinstance(reply, Spoken) or not sent.startswith(text):
                raise ApiError(
                    500,
                    "the model failed and started anew with other words: ask again",
                    code="begun_anew",
                )
            if isinstance(reply, Spoken):
                break
            reply = await call.next()
        yield event(completion.closing(reply))
        if include_usage:
            yield event(completion.counted(reply))
        yield LAST_EVENT
    except ApiError as error:
        yield event(error.body())
    finally:
        call.abandon()
