"""`driftline cloud work`: a small process that keeps the heavy one alive, and ends when told to."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
from types import FrameType

from driftline_cloud.config import CloudConfig
from driftline_cloud.identity import bind
from driftline_cloud.intake.database import Database
from driftline_cloud.rounds.board import Board
from driftline_cloud.service.assembly import line_of
from driftline_cloud.service.supervisor import WORK, Supervisor, leave_after, work_orders
from driftline_cloud.state import StateFolder
from driftline_shared.host.clock import SystemClock
from driftline_shared.pair.pair import load_pair

LEAVE_S = 5.0


def work_until_stopped(config: CloudConfig) -> int:
    """Drive rounds until SIGTERM or Ctrl-C; the exit code. Raises ConfigError for a database and a
    state folder that do not belong together.
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
    config.state.mkdir(parents=True, exist_ok=True)
    database = Database(config.database)
    try:
        bind(database, StateFolder(config.state))
        board = Board(
            database=database, line=line_of(load_pair(config.pair)).id, clock=SystemClock()
        )
        supervisor = Supervisor(
            WORK,
            feed=work_orders(config, owner),
            say=lambda state, reason: board.say(owner, state, reason),
            settings=config.work,
            grace_s=config.drain_s,
        )
        supervisor.run(halt, usage_ends=True)
    finally:
        database.close()
        leaving.cancel()
    return 0 if halt.is_set() else supervisor.last_code or 0
