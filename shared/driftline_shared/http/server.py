"""uvicorn's server over our acceptor and our connections."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn

from driftline_shared.http.acceptor import Acceptor
from driftline_shared.http.connection import Connection
from driftline_shared.http.connections import Connections, default_limit
from driftline_shared.http.log_limit import LogLimit
from driftline_shared.http.refusal import Wording, plain

BACKLOG = 128

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpLimits:
    """`max_connections` at once, 0: as many as this process's files allow (`default_limit`); a
    whole header has `header_timeout_s`, and replies that are being written at the end
    `end_timeout_s`.
    """

    max_connections: int = 0
    header_timeout_s: float = 10.0
    end_timeout_s: int = 5


class HttpServer(uvicorn.Server):
    """Serves `listener` until `should_exit`; `name` begins its lines in the log."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        limits: HttpLimits,
        *,
        name: str,
        wording: Wording,
    ) -> None:
        super().__init__(config)
        self._listener, self._name, self._wording = listener, name, wording
        self._connections: Connections[Connection] = Connections(
            limits.max_connections or default_limit()
        )
        self._header_timeout_s = limits.header_timeout_s
        self._acceptor: Acceptor | None = None
        self._faults = LogLimit()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        await self.lifespan.startup()
        asyncio.get_running_loop().set_exception_handler(self._raised)
        self._listener.setblocking(False)
        self.servers = []
        self._acceptor = Acceptor(
            self._listener,
            self._connect,
            make_room=self._connections.send_away,
            name=self._name,
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
            wording=self._wording,
        )

    def _raised(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        left_out = self._faults.allow()
        if left_out is not None:
            error = repr(context.get("exception") or context["message"])
            _log.error(f"{self._name}.raised", error=error, num_left_out=left_out)


class ForwardedLog(logging.Handler):
    """What uvicorn says, as our own log lines and at a limited rate: strangers cause much of it."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.WARNING)
        self._server = name
        self._limits = {level: LogLimit() for level in (logging.WARNING, logging.ERROR)}

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        is_fault = record.levelno >= logging.ERROR
        left_out = self._limits[logging.ERROR if is_fault else logging.WARNING].allow()
        if left_out is None:
            return
        write = _log.error if is_fault else _log.warning
        write(
            f"{self._server}.server",
            text=record.getMessage().strip(),
            exc_info=record.exc_info,
            num_left_out=left_out,
        )


def make_server(
    app: Callable[..., Any],
    listener: socket.socket,
    limits: HttpLimits,
    *,
    name: str,
    wording: Wording = plain,
) -> HttpServer:
    """A server of `app`, an ASGI application; see `HttpServer`."""
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
            timeout_graceful_shutdown=limits.end_timeout_s,
        ),
        listener,
        limits,
        name=name,
        wording=wording,
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; OSError where the address cannot be had."""
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Inherited by connections. Head and body of a reply are two packets, and asyncio does not see
    # that a socket made in this way is TCP: the second would wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def forwarded_log(name: str) -> Iterator[None]:
    """See `ForwardedLog`; as long as the block lasts."""
    logger, handler = logging.getLogger("uvicorn.error"), ForwardedLog(name)
    propagate = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(handler)
