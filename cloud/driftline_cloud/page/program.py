"""The pages as a program: by hand, or beside a cloud that serves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import structlog

from driftline_cloud.intake.database import Database
from driftline_cloud.page.settings import PageSettings
from driftline_shared.callbacks import ignore
from driftline_shared.host.clock import SystemClock
from driftline_shared.program.extras import needs_extra

if TYPE_CHECKING:
    from driftline_cloud.trust.issuer import Role

_log = structlog.get_logger(__name__)


def show_pages(
    database_url: str,
    settings: PageSettings,
    halt: threading.Event,
    *,
    keys: Mapping[Role, str] | None = None,
    ready: Callable[[str], None] = ignore,
) -> None:
    """Show the pages of a database until `halt` is set; `ready` is told their address. `keys`: of
    who signs in, where the settings let them.

    Raises ConfigError for a database or an address that cannot be used.
    """
    with needs_extra("the operator's pages", "cloud"):
        from driftline_cloud.page.http.server import page_server
        from driftline_cloud.page.orders.given import Orders
    database, clock = Database(database_url, read_only=True), SystemClock()
    with ExitStack() as stack:
        stack.callback(database.close)
        orders = None
        if settings.orders:
            changed = Database(database_url)
            stack.callback(changed.close)
            orders = Orders(changed, clock)
        with page_server(database, settings, clock, orders=orders, keys=keys) as (port, run):
            address = f"http://{settings.listen.rpartition(':')[0]}:{port}/"
            _log.info("page.serving", address=address)
            ready(address)
            run(halt)


def halt_on_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    halt = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: halt.set())
    return halt
