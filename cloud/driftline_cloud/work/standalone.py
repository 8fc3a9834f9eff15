"""`driftline cloud work`: a small process that keeps a heavy one for each line alive, and ends when
told to.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from collections.abc import Sequence
from types import FrameType

import structlog

from driftline_cloud.config import CloudConfig
from driftline_cloud.identity import bind
from driftline_cloud.intake.database import Database
from driftline_cloud.lines.book import LineBook
from driftline_cloud.service.supervisor import WORK, leave_after
from driftline_cloud.service.supervisors import Supervisors
from driftline_cloud.state import StateFolder
from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import SystemClock

LEAVE_S = 5.0

_log = structlog.get_logger(__name__)


def work_until_stopped(config: CloudConfig, lines: Sequence[str] = ()) -> int:
    """Drive rounds of `lines` (empty: all active ones) until SIGTERM or Ctrl-C; the exit code.
    Raises ConfigError for a line that is not there, and for a database and a state folder that do
    not belong together.
    """
    owner = f"{socket.gethostname()[:80]}-{os.getpid()}-{secrets.token_hex(3)}"
    halt = threading.Event()
    leaving = leave_after(config.drain_s + LEAVE_S)

    def asked(_signal: int, _frame: FrameType | None) -> None:
        halt.set()
        if leaving.ident is None:
            leaving.start()

    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, asked)
    try:
        config.state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"state folder {config.state} cannot be used: {error.strerror}",
            fix="Name the folder of the cloud that serves, which this user may write.",
        ) from error
    database = Database(config.database)
    try:
        bind(database, StateFolder(config.state))
        book = LineBook(database)
        supervisors = Supervisors(
            WORK,
            config=config,
            database=database,
            owner=owner,
            clock=SystemClock(),
            only=[book.find(name).id for name in lines],
        )
        if not lines and not book.all():
            _log.info("work.no_line_yet", fix="`driftline cloud serve` adds the first.")
        supervisors.run(halt, usage_ends=True)
    finally:
        database.close()
        leaving.cancel()
    return 0 if halt.is_set() else supervisors.last_code or 0
