"""The local API: OpenAI's chat completions and responses with images, and how the device is.

    POST /v1/chat/completions   one question about one image; `stream` gives server-sent events
    POST /v1/responses          the same in OpenAI's newer form
    GET  /v1/models             the pair, with the adapter version in force
    GET  /health                the process lives (no token asked for)
    GET  /ready                 the model is loaded and takes questions (no token asked for)
    GET  /status                the snapshot
    GET  /metrics               Prometheus
    GET  /docs, /openapi.json   this, for people and programs (no token asked for)

Those below /v1 are answered without it, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.middleware.cors import CORSMiddleware

from driftline_device.api.access import Access
from driftline_device.api.ask.asked import Asked, check_model
from driftline_device.api.ask.asking import ANSWERED_BY, LEFT_OUT, Answering, Asking, Reply
from driftline_device.api.chat.question import read_question
from driftline_device.api.chat.replies import ChatFrames, Completion, model
from driftline_device.api.described.openapi import ROUTES, document
from driftline_device.api.described.page import page
from driftline_device.api.errors import handle_errors
from driftline_device.api.holders import Scope
from driftline_device.api.key import Key
from driftline_device.api.network.bodies import ReadToTheEnd
from driftline_device.api.network.paths import Tidied
from driftline_device.api.owner.routes import OwnerRoutes
from driftline_device.api.responses.body import read_responses
from driftline_device.api.responses.replies import ResponseReply
from driftline_device.api.settings import ApiConfig
from driftline_device.api.traffic.log import AccessLog
from driftline_device.api.traffic.metrics import RequestMetrics
from driftline_device.api.traffic.observed import Observed
from driftline_device.api.traffic.record import HEADER
from driftline_device.daemon.snapshot import Snapshot
from driftline_device.history.history import History
from driftline_device.show.metrics import SnapshotCollector

READ = ["GET", "HEAD"]
"""Whoever watches a device often asks for heads alone; the server leaves out the bodies."""

VERSIONED = "/v1"


class Device(Answering, Protocol):
    """What the API needs of the daemon; safe from any thread."""

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
        self._config = config
        self._max_pixels = max_pixels
        self._created = int(time.time())
        self._asking = Asking(device, config)
        now = device.snapshot()
        self._pair, self._base_model = now.pair, now.base_model
        self._metrics = CollectorRegistry()
        self._metrics.register(SnapshotCollector(device.snapshot))
        self._document = document(_version())
        self.app = self._routes(key)

    def close(self) -> None:
        """Start no more answers; those under way end by themselves."""
        self._asking.close()

    def _routes(self, key: Key) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        # The last that is added is the outermost.
        app.add_middleware(ReadToTheEnd)
        if self._config.cors_origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=self._config.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=[HEADER, ANSWERED_BY, LEFT_OUT, "retry-after"],
            )
        app.add_middleware(
            Observed,
            metrics=RequestMetrics(self._metrics, ROUTES),
            log=AccessLog() if self._config.access_log else None,
        )
        app.add_middleware(Tidied)
        handle_errors(app)
        look = [Depends(Access(key, Scope.LOOK))]
        asks = [Depends(Access(key, Scope.ASK))]
        named = [Depends(Access(key, Scope.ASK, Scope.LOOK))]
        for path, read in (
            ("/health", self._health),
            ("/ready", self._ready),
            ("/openapi.json", self._describe),
            ("/docs", self._page),
        ):
            app.add_api_route(path, read, methods=READ)
        for path, route, opened in (
            ("/status", self._status, look),
            ("/metrics", self._show_metrics, look),
            ("/v1/models", self._models, named),
            ("/v1/models/{name:path}", self._model, named),
        ):
            for each in (path, path.removeprefix(VERSIONED)):
                app.add_api_route(each, route, methods=READ, dependencies=opened)
        for path, ask in (
            ("/v1/chat/completions", self._chat),
            ("/v1/responses", self._respond),
        ):
            for each in (path, path.removeprefix(VERSIONED)):
                app.add_api_route(
                    each, ask, methods=["POST"], dependencies=asks, response_model=None
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

    async def _describe(self) -> dict[str, Any]:
        return self._document

    async def _page(self) -> HTMLResponse:
        return HTMLResponse(page(self._document))

    # Not coroutines: they read the spool, and so run in a thread of their own.

    def _status(self) -> JSONResponse:
        return JSONResponse(asdict(self._device.snapshot()))

    def _show_metrics(self) -> Response:
        return Response(generate_latest(self._metrics), media_type=CONTENT_TYPE_LATEST)

    def _models(self) -> dict[str, Any]:
        return {"object": "list", "data": [model(self._device.snapshot(), self._created)]}

    def _model(self, name: str) -> dict[str, Any]:
        check_model(name, pair=self._pair, names=self._config.model_names)
        return model(self._device.snapshot(), self._created)

    # -- answers ----------------------------------------------------------------------------------

    async def _chat(self, request: Request) -> Response:
        def reply(asked: Asked) -> Reply:
            completion = Completion(pair=self._pair, base_model=self._base_model)
            return ChatFrames(completion, include_usage=asked.include_usage)

        return await self._asking.answer(request, self._reader(read_question), reply)

    async def _respond(self, request: Request) -> Response:
        def reply(asked: Asked) -> Reply:
            return ResponseReply(pair=self._pair, max_output_tokens=asked.max_tokens)

        return await self._asking.answer(request, self._reader(read_responses), reply)

    def _reader(self, read: Callable[..., Asked]) -> Callable[[bytes], Asked]:
        return partial(read, pair=self._pair, config=self._config, max_pixels=self._max_pixels)


def _version() -> str:
    try:
        return version("driftline")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
