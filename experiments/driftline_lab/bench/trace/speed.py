"""What recording costs: events a second, bytes an event, and what an answer waits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from driftline_device.config import load_config
from driftline_device.daemon.daemon import Daemon
from driftline_device.program.assembly import open_daemon, runtime_for
from driftline_device.runtime.runtime import Question
from driftline_lab.bench.trace.worker import SUBJECT, event
from driftline_shared.host.clock import SystemClock
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.reader import open_trace
from driftline_shared.trace.recorder import open_recorder
from driftline_shared.trace.settings import TraceSettings

BLOCK = 16
"""Questions asked of one device before it is the other's turn."""


def recording(folder: Path, num_events: int, token_bytes: int) -> dict[str, float]:
    """Events a second until all are on disk, the processor's time and the parts' bytes an event.

    `handing_over_us`: what an answer itself waits for its event to be taken.
    """
    settings = TraceSettings(folder=folder, queue_bytes=1 << 30)
    events = [event(0, number, token_bytes) for number in range(num_events)]
    calls = [partial(_given, one) for one in events]
    with open_recorder(settings, SUBJECT, clock=SystemClock()) as sink:
        sink.record(calls[0])
        sink.flush(60.0)  # what is imported once
        started, worked = time.perf_counter(), time.process_time()
        for call in calls[1:]:
            sink.record(call)
        handed_s = time.perf_counter() - started
        sink.flush(600.0)
        written_s = time.perf_counter() - started
        cpu_s = time.process_time() - worked
    trace = open_trace(folder)
    started = time.perf_counter()
    num_read = sum(1 for _ in trace.events())
    read_s = time.perf_counter() - started
    assert num_read == num_events
    num_bytes = sum(part.bytes for part in trace.manifest.parts)
    return {
        "token_bytes": token_bytes,
        "events_per_s": round((num_events - 1) / written_s, 1),
        "cpu_us_per_event": round(1e6 * cpu_s / (num_events - 1), 1),
        "handing_over_us": round(1e6 * handed_s / (num_events - 1), 2),
        "events_read_per_s": round(num_events / read_s, 1),
        "bytes_per_event": round(num_bytes / num_events, 1),
    }


def answers_side_by_side(folder: Path, pair: str, num_blocks: int) -> dict[str, Any]:
    """Milliseconds of an answer with and without a recorder, in blocks by turns: that it took, and
    that the process worked, its recorder's thread included. On a busy machine only the second says
    what recording costs.

    Both devices run the same questions on models of their own; all tokens are recorded.
    """
    found = load_pair(pair)
    questions = [
        Question(image=item.image, text=item.question, truth=item.answer)
        for item in found.probe_set()
    ]
    times: dict[str, list[float]] = {"without": [], "with": []}
    worked_s = dict.fromkeys(times, 0.0)
    with ExitStack() as stack:
        daemons = {
            name: stack.enter_context(_device(folder / name, found, pair, traced=name == "with"))
            for name in times
        }
        for block in range(-1, num_blocks):
            order = sorted(times, reverse=bool(block % 2))
            for name in order:
                before_s = time.process_time()
                for number in range(BLOCK):
                    question = questions[(max(block, 0) * BLOCK + number) % len(questions)]
                    started = time.perf_counter()
                    daemons[name].ask(question)
                    if block >= 0:  # the first block warms up
                        times[name].append(1e3 * (time.perf_counter() - started))
                worked_s[name] += (time.process_time() - before_s) if block >= 0 else 0.0
    events = sum(1 for _ in open_trace(folder / "with" / "trace").events())
    middle = {name: statistics.median(values) for name, values in times.items()}
    mean = {name: statistics.fmean(values) for name, values in times.items()}
    return {
        "pair": pair,
        "num_answers_each": num_blocks * BLOCK,
        "num_events": events,
        "median_ms": {name: round(value, 3) for name, value in middle.items()},
        "mean_ms": {name: round(value, 3) for name, value in mean.items()},
        "cpu_ms": {
            name: round(1e3 * value / (num_blocks * BLOCK), 3) for name, value in worked_s.items()
        },
    }


def _given(one: TraceEvent) -> TraceEvent:
    return one


@contextmanager
def _device(folder: Path, pair: Pair, name: str, *, traced: bool) -> Iterator[Daemon]:
    settings: dict[str, object] = {"state": str(folder / "state"), "pair": name, "seed": 0}
    if traced:
        settings |= {"trace.folder": str(folder / "trace"), "trace.all_tokens": "int8"}
    config = load_config(None, settings, {})
    with open_daemon(config, pair, runtime_for(config, pair), source="bench") as daemon:
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.stop(0.0)
