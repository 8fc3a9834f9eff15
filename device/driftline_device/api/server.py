"""The local API on a socket of its own, in a thread of its own."""

from __future__ import annotations

import json
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
    from driftline_device.history.history import History
    from driftline_shared.http.refusal import Refusal
    from driftline_shared.http.server import HttpServer

START_TIMEOUT_S = 10.0

END_TIMEOUT_S = 5
"""For replies that are being written when the server ends; the daemon has waited for answers."""

_SETTINGS = {
    "request_timeout": "api.header_timeout_s",
    "too_many_connections": "api.max_connections",
}

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
        from driftline_shared.http.server import HttpLimits, forwarded_log, make_server
    api = Api(device, config, key=key or Key(config), max_pixels=max_pixels, history=history)
    limits = HttpLimits(
        max_connections=config.max_connections,
        header_timeout_s=config.header_timeout_s,
        end_timeout_s=END_TIMEOUT_S,
    )
    with _listen(config.host, config.port) as listener, forwarded_log("api"):
        server = make_server(api.app, listener, limits, name="api", wording=_worded)
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
    from driftline_shared.http.server import listen

    try:
        return listen(host, port)
    except OSError as error:
        raise ConfigError(
            f"api: {host}:{port} cannot be listened on: {error.strerror or error}"
        ) from error


def _worded(refusal: Refusal) -> tuple[str, bytes]:
    """In OpenAI's shape; the setting is named where there is one."""
    from driftline_device.api.errors import ApiError

    setting = _SETTINGS.get(refusal.code)
    sentence = refusal.sentence + (f" ({setting})" if setting else "")
    body = ApiError(refusal.status, sentence, code=refusal.code).body()
    return "application/json", json.dumps(body).encode()


def _wait_until_started(server: HttpServer, thread: threading.Thread) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline_s:
            raise DriftlineError("the local API did not start: look at the log")
        time.sleep(0.005)
