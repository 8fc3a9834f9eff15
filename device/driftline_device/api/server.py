"""The local API on a socket of its own, in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from driftline_device.api.key import Key
from driftline_device.api.settings import ApiConfig
from driftline_shared.errors import ConfigError, DriftlineError
from driftline_shared.program.extras import needs_extra

if TYPE_CHECKING:
    from driftline_device.api.app import Device
    from driftline_device.api.network.http_server import HttpServer
    from driftline_device.history.history import History

START_TIMEOUT_S = 10.0

END_TIMEOUT_S = 5
"""For replies that are being written when the server ends; the daemon has waited for answers."""

BACKLOG = 128

_log = structlog.get_logger(__name__)


@contextmanager
def serve_api(
    device: Device,
    config: ApiConfig,
    *,
    max_pixels: int,
    key: Key | None = None,
    history: History | None = None,
) -> Iterator[None]:
    """Serve the API of `device` as long as the block lasts; port 0 serves none.

    `history`: its pages are served, too. `key`: whoever holds it may change the token meanwhile.
    Raises ConfigError if the address cannot be had or the token cannot be read.
    """
    if not config.port:
        yield
        return
    with needs_extra("the local API", "device"):
        from driftline_device.api.app import Api
        from driftline_device.api.network.http_server import forwarded_log, make_server
    api = Api(device, config, key=key or Key(config), max_pixels=max_pixels, history=history)
    with _listen(config.host, config.port) as listener, forwarded_log():
        server = make_server(api.app, config, listener, end_timeout_s=END_TIMEOUT_S)
        thread = threading.Thread(
            target=server.run, args=([listener],), name="driftline-api", daemon=True
        )
        thread.start()
        try:
            _wait_until_started(server, thread)
            _log.info("api.listening", host=config.host, port=config.port)
            yield
        finally:
            server.should_exit = True
            thread.join(2.0 * END_TIMEOUT_S)
            api.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host.strip("[]"), port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"api: {host}:{port} cannot be listened on: {error.strerror or error}"
        ) from error
    # Inherited by connections. Head and body of a reply are two packets, and asyncio does not see
    # that a socket made in this way is TCP: the second would wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _wait_until_started(server: HttpServer, thread: threading.Thread) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline_s:
            raise DriftlineError("the local API did not start: look at the log")
        time.sleep(0.005)
