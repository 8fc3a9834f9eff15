"""The pages on a socket, until the program is asked to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from driftline_cloud.intake.database import Database
from driftline_cloud.page.http.app import Pages
from driftline_cloud.page.orders.given import Orders
from driftline_cloud.page.settings import PageSettings
from driftline_cloud.trust.issuer import Role
from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import Clock
from driftline_shared.http.server import HttpLimits, forwarded_log, listen, make_server

LIMITS = HttpLimits(header_timeout_s=10.0, end_timeout_s=3)
"""Of the pages; browsers send a header at once."""


@contextmanager
def page_server(
    database: Database,
    settings: PageSettings,
    clock: Clock,
    *,
    orders: Orders | None = None,
    keys: Mapping[Role, str] | None = None,
) -> Iterator[tuple[int, Callable[[threading.Event], None]]]:
    """The port, and what serves the pages until an event is set; ConfigError for an address that
    cannot be had. `orders`, `keys`: see `Pages`.
    """
    host, _, port = settings.listen.rpartition(":")
    try:
        listener = listen(host, int(port))
    except OSError as error:
        raise ConfigError(
            f"the pages cannot listen on {settings.listen}: {error.strerror or error}",
            fix="Name another with --listen.",
        ) from error
    pages = Pages(database, settings, clock, orders=orders, keys=keys)
    server = make_server(pages.app, listener, LIMITS, name="page")

    def run(halt: threading.Event) -> None:
        serving = threading.Thread(
            target=server.run, args=([listener],), name="driftline-page", daemon=True
        )
        serving.start()
        while serving.is_alive() and not halt.wait(0.1):
            pass
        server.should_exit = True
        serving.join(2.0 * LIMITS.end_timeout_s)

    with listener, forwarded_log("page"):
        yield int(listener.getsockname()[1]), run
