"""The operator's pages as a process beside one that serves: kept alive, and never in its way."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from driftline_cloud.config import CloudConfig
from driftline_cloud.page.orders.key import page_keys
from driftline_cloud.service.supervisor import Supervisor
from driftline_shared.callbacks import ignore

PAGE = (sys.executable, "-m", "driftline_cloud.page")

GRACE_S = 3.0
"""For pages that are being written when the cloud stops."""


@contextmanager
def pages_beside(config: CloudConfig, command: Sequence[str] = PAGE) -> Iterator[None]:
    """Show the pages while the block lasts, where `page.listen` says so.

    A process that ends, because its address is taken for example, is started again, later and
    later; the log has its reason.
    """
    if not config.page.listen:
        yield
        return
    orders = {
        "database": config.database,
        "page": config.page.model_dump(mode="json"),
        "keys": page_keys(config.state) if config.page.signs else {},
        "log": config.log.model_dump(mode="json"),
    }
    supervisor = Supervisor(
        command,
        feed=json.dumps(orders).encode() + b"\n",
        say=ignore,
        settings=config.work,
        grace_s=GRACE_S,
        name="page",
    )
    halt = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(halt,), name="page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        halt.set()
        thread.join(2 * GRACE_S)
