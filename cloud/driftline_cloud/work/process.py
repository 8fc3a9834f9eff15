"""The process that does the heavy work: its standard input says what, signals say when to end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import IO

import structlog

from driftline_cloud.config import CloudConfig
from driftline_cloud.service.assembly import Makers
from driftline_cloud.work.program import Worker
from driftline_shared.errors import ConfigError, DriftlineError

_log = structlog.get_logger(__name__)

FORGIVE_S = 2.0
"""For the last words of a process that leaves its work where it is."""


def run_process(
    config: CloudConfig, makers: Makers, owner: str, parent: IO[bytes], *, line: str
) -> int:
    """Work until SIGTERM, SIGINT or the end of `parent`; the exit code. The caller leaves at once
    with it: work that did not end in time may still be under way in a thread.
    """
    halt, gone = threading.Event(), threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: halt.set())

    def listen() -> None:
        while parent.read(1):
            pass
        gone.set()
        halt.set()

    threading.Thread(target=listen, name="parent", daemon=True).start()
    worker = Worker(config=config, makers=makers, owner=owner, line=line)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            worker.run(halt)
        except BaseException as error:
            failures.append(error)

    working = threading.Thread(target=work, name="rounds", daemon=True)
    working.start()
    while working.is_alive() and not halt.wait(0.1):
        pass
    # A little less than whoever started us waits before it kills.
    working.join(0.0 if gone.is_set() else max(0.5, config.drain_s - FORGIVE_S - 1.0))
    if working.is_alive():
        last = threading.Thread(target=worker.leave, daemon=True)
        last.start()
        last.join(FORGIVE_S)
        _log.info("work.left_unfinished")
        return 0
    return _code(failures)


def _code(failures: list[BaseException]) -> int:
    for error in failures:
        if isinstance(error, DriftlineError):
            _log.error("work.failed", error=str(error), fix=error.fix, reason=str(error.reason))
        else:
            _log.error("work.failed", exc_info=error)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def leave(code: int) -> None:
    """End the process now, whatever its threads do."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
