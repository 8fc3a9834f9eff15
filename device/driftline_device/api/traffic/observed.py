"""Round every request: its id, its line in the log, its place in the metrics."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from driftline_device.api.traffic.log import AccessLog
from driftline_device.api.traffic.metrics import RequestMetrics
from driftline_device.api.traffic.record import HEADER, begin


class Observed:
    """The outermost layer. `log` None: no line is written."""

    def __init__(self, app: ASGIApp, *, metrics: RequestMetrics, log: AccessLog | None) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = begin(scope)
        begun_s = time.monotonic()

        async def replied(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                header = (HEADER.encode(), record.id.encode("ascii"))
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        self._metrics.begun()
        try:
            await self._app(scope, receive, replied)
        finally:
            seconds = time.monotonic() - begun_s
            method, path = scope["method"], scope["path"]
            self._metrics.ended(path=path, method=method, status=record.status, seconds=seconds)
            if self._log is not None:
                client = (scope.get("client") or ("",))[0]
                self._log.write(record, method=method, path=path, client=client, seconds=seconds)
