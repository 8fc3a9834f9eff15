"""What happens when no file descriptor is left."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from structlog.testing import capture_logs

from driftline_shared.http import acceptor
from driftline_shared.http.acceptor import Acceptor


class Failing:
    """A listener that fails so many times, then listens."""

    def __init__(self, listener: socket.socket, failures: int) -> None:
        self._listener = listener
        self.failures = failures
        self.num_tries = 0

    def fileno(self) -> int:
        return self._listener.fileno()

    def accept(self) -> Any:
        self.num_tries += 1
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._listener.accept()


def test_it_rests_says_it_once_makes_room_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "RETRY_S", 0.01)
    asked: list[bool] = []

    async def run() -> Failing:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            failing = Failing(listener, 5)
            connected = asyncio.Event()

            class Noted(asyncio.Protocol):
                def connection_made(self, transport: asyncio.BaseTransport) -> None:
                    transport.close()
                    connected.set()

            made = Acceptor(
                failing,  # type: ignore[arg-type]
                Noted,
                make_room=lambda: not asked.append(True),  # type: ignore[func-returns-value]
                name="api",
            )
            made.open()
            _, writer = await asyncio.open_connection(*listener.getsockname())
            await asyncio.wait_for(connected.wait(), 30.0)
            writer.close()
            await writer.wait_closed()
            made.close()
            return failing

    with capture_logs() as lines:
        failing = asyncio.run(run())
    assert failing.num_tries <= 5 + 2, "it does not spin"
    assert len(asked) == 5
    assert [line["event"] for line in lines] == ["api.accept_failed"]
