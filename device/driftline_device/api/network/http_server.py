"""uvicorn's server over our acceptor and our connections."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI

from driftline_device.api.network.acceptor import Acceptor
from driftline_device.api.network.connection import Connection
from driftline_device.api.network.connections import Connections, default_limit
from driftline_device.api.network.log_limit import LogLimit
from driftline_device.api.settings import ApiConfig

_log = structlog.get_logger(__name__)


class HttpServer(uvicorn.Server):
    """Serves `listener` until `should_exit`."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        *,
        connections: Connections[Connection],
        header_timeout_s: float,
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._connections = connections
        self._header_timeout_s = header_timeout_s
        self._acceptor: Acceptor | None = None
        self._faults = LogLimit()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        await self.lifespan.startup()
        asyncio.get_running_loop().set_exception_handler(self._raised)
        self._listener.setblocking(False)
        self.servers = []
        self._acceptor = Acceptor(
            self._listener, self._connect, make_room=self._connections.send_away
        )
        self._acceptor.open()
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        if self._acceptor is not None:
            self._acceptor.close()
        await super().shutdown(sockets)

    def _connect(self) -> Connection:
        return Connection(
            self.config,
            self.server_state,
            self.lifespan.state,
            connections=self._connections,
            header_timeout_s=self._header_timeout_s,
        )

    def _raised(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        left_out = self._faults.allow()
        if left_out is not None:
            error = context.get("exception")
            _log.error("api.raised", error=repr(error or context["message"]), num_left_out=left_out)


class ForwardedLog(logging.Handler):
    """What uvicorn says, as our own log lines and at a limited rate: strangers cause much of it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._limits = {level: LogLimit() for level in (logging.WARNING, logging.ERROR)}

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        is_fault = record.levelno >= logging.ERROR
        left_out = self._limits[logging.ERROR if is_fault else logging.WARNING].allow()
        if left_out is None:
            return
        write = _log.error if is_fault else _log.warning
        write(
            "api.server",
            text=record.getMessage().strip(),
            exc_info=record.exc_info,
            num_left_out=left_out,
        )


def make_server(
    app: FastAPI, config: ApiConfig, listener: socket.socket, *, end_timeout_s: int
) -> HttpServer:
    """A server of `app`. `end_timeout_s`: for replies that are being written when it ends."""
    return HttpServer(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=end_timeout_s,
        ),
        listener,
        connections=Connections(config.max_connections or default_limit()),
        header_timeout_s=config.header_timeout_s,
    )


@contextmanager
def forwarded_log() -> Iterator[None]:
    """See `ForwardedLog`; as long as the block lasts."""
    logger, handler = logging.getLogger("uvicorn.error"), ForwardedLog()
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)
