"""A process that records until it is killed, and says which events are on disk.

    python -m driftline_lab.bench.trace.worker FOLDER RUN

Prints `written N` for each event number N up to which everything is on disk. The `i`th event of
a run asks the question `RUN:i`, so that a reader can tell whether one is lost or doubled.
"""

from __future__ import annotations

import os
import random
import sys
import time
from functools import partial
from pathlib import Path

from driftline_shared.host.clock import SystemClock
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.manifest import Subject
from driftline_shared.trace.recorder import open_recorder
from driftline_shared.trace.settings import TraceSettings

SUBJECT = Subject(
    pair="bench",
    base_model="0" * 64,
    token_space="1" * 64,
    token_width=16,
    recorder="lab",
    source="worker",
)

PART_ROWS = 40
"""Few, so that many kills fall between journal and part."""


def event(run: int, number: int, num_bytes: int = 400) -> TraceEvent:
    """The event `number` of a run, with that many bytes of tokens."""
    tokens = random.Random(number).randbytes(num_bytes)
    return TraceEvent(
        kind=EventKind.ANSWER,
        wall_unix_s=time.time(),
        monotonic_s=time.monotonic(),
        device="worker",
        question=f"{run}:{number}",
        answer="red",
        scores={"entropy": 0.5, "margin": 0.25},
        grid=(1, 4, 4),
        kept=(0, 3, 9),
        token_codec="int8",
        coded=tokens,
        sent=True,
    )


def _say(number: int) -> None:
    os.write(1, b"written %d\n" % number)


def main(folder: str, run: str) -> None:
    """Record for ever."""
    settings = TraceSettings(folder=Path(folder), part_rows=PART_ROWS, batch_rows=8, batch_s=0.002)
    with open_recorder(
        settings,
        SUBJECT,
        clock=SystemClock(),
        on_written=_say,
    ) as sink:
        for number in range(10**9):
            sink.record(partial(event, int(run), number))
            time.sleep(0.0005)


if __name__ == "__main__":
    main(*sys.argv[1:3])
