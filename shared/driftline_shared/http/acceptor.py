"""Takes connections from a listening socket.

asyncio's own way writes a log line for each try while the process has no file descriptor left, up
to `backlog` of them at once, and tries anew for each (CPython's `_accept_connection`).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import structlog

from driftline_shared.http.log_limit import LogLimit

MOST_UNMADE = 16
"""Connections taken that have no protocol yet: they are beyond the bound on connections."""

RETRY_S = 0.5
"""Pause after a failure."""

_log = structlog.get_logger(__name__)


class Acceptor:
    """`connect` makes the protocol of a connection; `make_room` is called where there is no file
    descriptor for one more. `name`: of the server, in its log.
    """

    def __init__(
        self,
        listener: socket.socket,
        connect: Callable[[], asyncio.Protocol],
        *,
        make_room: Callable[[], bool],
        name: str,
    ) -> None:
        self._name = name
        self._listener = listener
        self._connect = connect
        self._make_room = make_room
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._failures = LogLimit()
        self._retry: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Take connections from now on."""
        self._retry = None
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Take no more."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        while len(self._tasks) < MOST_UNMADE:
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failed(error)
                return
            accepted.setblocking(False)
            task: asyncio.Task[object] = self._loop.create_task(
                self._loop.connect_accepted_socket(self._connect, accepted)
            )
            self._tasks.add(task)
            task.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._say(error)

    def _failed(self, error: OSError) -> None:
        self._say(error)
        self._make_room()
        self._loop.remove_reader(self._listener.fileno())
        self._retry = self._loop.call_later(RETRY_S, self.open)

    def _say(self, error: BaseException) -> None:
        left_out = self._failures.allow()
        if left_out is not None:
            _log.error(f"{self._name}.accept_failed", error=str(error), num_left_out=left_out)
