"""One connection: uvicorn's, with an end to every wait.

uvicorn waits without bound for the header of a request and for a client to read its answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from driftline_shared.http.connections import Connections, Stage
from driftline_shared.http.refusal import Refusal, Wording, raw

WRITE_TIMEOUT_S = 30.0
"""For a client to take what is written to it; one that takes nothing is cut off."""

_FULL = Refusal(
    status=503, code="too_many_connections", sentence="there is no room for another connection"
)


class Connection(H11Protocol):
    """Closed when a header takes longer than `header_timeout_s` from its first byte, or from the
    connection's first moment on; or when `connections` needs its room. `wording`: of refusals.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        connections: Connections[Connection],
        header_timeout_s: float,
        wording: Wording,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._wording = wording
        self._open = connections
        self._header_timeout_s = header_timeout_s
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # -- asyncio's protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        if not self._open.enter(self):
            transport.write(raw(_FULL, self._wording))
            self._close()
            return
        self._wait_for_header()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        self._moved()
        if self._is_idle():
            self._wait_for_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        super().connection_lost(exc)
        self._open.leave(self)
        self._unset_keepalive_if_required()
        self._stop_header_timer()
        self._stop_write_timer()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._abort_later()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_write_timer()

    # -- uvicorn's protocol -----------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """See `H11Protocol`."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._abort_later()
            return
        self._moved()
        if self._is_idle() and self.conn.trailing_data[0]:
            self._wait_for_header()

    def timeout_keep_alive_handler(self) -> None:
        """See `H11Protocol`."""
        super().timeout_keep_alive_handler()
        self._abort_later()

    def send_400_response(self, msg: str) -> None:
        """See `H11Protocol`: in the server's wording, and nothing where an answer has begun."""
        self._refuse(Refusal(status=400, code="invalid_http", sentence="this is no HTTP request"))

    # -- ours -------------------------------------------------------------------------------------

    def make_room(self) -> None:
        """See `Closable`. Nothing is said: whoever waits here has asked nothing."""
        self.transport.abort()

    def _stage(self) -> Stage:
        if self.conn.their_state is h11.IDLE:
            return Stage.HEADER
        return Stage.BODY if self.conn.their_state is h11.SEND_BODY else Stage.ANSWER

    def _is_idle(self) -> bool:
        """No answer is due: what comes is a header, or the rest of a body that nobody reads."""
        return self._stage() is Stage.HEADER or (
            self.cycle is not None and self.cycle.response_complete
        )

    def _moved(self) -> None:
        self._open.move(self, self._stage())
        if not self._is_idle():
            self._stop_header_timer()

    def _wait_for_header(self) -> None:
        if self._header_timer is None and not self.transport.is_closing():
            self._header_timer = self.loop.call_later(self._header_timeout_s, self._no_header)

    def _no_header(self) -> None:
        self._header_timer = None
        sentence = f"no whole header within {self._header_timeout_s:g} s"
        self._refuse(Refusal(status=408, code="request_timeout", sentence=sentence))

    def _refuse(self, refusal: Refusal) -> None:
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(raw(refusal, self._wording))
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        """Unless what was written is taken, or the connection is gone, before."""
        if self._write_timer is None and self.transport.get_write_buffer_size():
            self._write_timer = self.loop.call_later(WRITE_TIMEOUT_S, self.transport.abort)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
