"""The pages on a socket, until the program is asked to end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn

from driftline_cloud.intake.database import Database
from driftline_cloud.page.http.app import Pages
from driftline_cloud.page.orders.given import Orders
from driftline_cloud.page.settings import PageSettings
from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import Clock

MOST_AT_ONCE = 64
"""Requests that are answered at a time; more get 503."""

END_S = 3
"""For pages that are being written when the program ends."""

_log = structlog.get_logger(__name__)


@contextmanager
def page_server(
    database: Database,
    settings: PageSettings,
    clock: Clock,
    *,
    orders: Orders | None = None,
    key: str = "",
) -> Iterator[tuple[int, Callable[[threading.Event], None]]]:
    """The port, and what serves the pages until an event is set; ConfigError for an address that
    cannot be had. `orders`, `key`: see `Pages`.
    """
    host, _, port = settings.listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise ConfigError(
            f"the pages cannot listen on {settings.listen}: {error.strerror or error}",
            fix="Name another with --listen.",
        ) from error
    server = uvicorn.Server(
        uvicorn.Config(
            Pages(database, settings, clock, orders=orders, key=key).app,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MOST_AT_ONCE,
            timeout_graceful_shutdown=END_S,
        )
    )

    def run(halt: threading.Event) -> None:
        serving = threading.Thread(
            target=server.run, args=([listener],), name="driftline-page", daemon=True
        )
        serving.start()
        while serving.is_alive() and not halt.wait(0.1):
            pass
        server.should_exit = True
        serving.join(2.0 * END_S)

    with listener:
        yield int(listener.getsockname()[1]), run
