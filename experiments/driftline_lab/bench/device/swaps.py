"""Adapters swapped under constant load: how long requests wait, and whether versions ever mix."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from driftline_device.runtime.factory import RuntimeName, make_runtime
from driftline_device.runtime.runtime import Question
from driftline_lab.bench.device.load import load
from driftline_lab.data.streams import Segment, stream
from driftline_shared.pair.pair import load_pair
from driftline_shared.update import Adapter

NUM_ADAPTERS = 4
NUM_QUESTIONS = 16
STEP = 0.02
"""Standard deviation of what is added to each weight of the adapter: enough that answers differ."""

TOLERANCE = 1e-4
"""Of the entropy of one answer, computed twice under one adapter."""


def run_swaps(
    pair_name: str = "tiny", *, runtime: RuntimeName = "torch", swaps: int = 1_000, threads: int = 2
) -> dict[str, Any]:
    """Milliseconds. `pause`: as the runtime reports it, for which no request can run; `swap`: the
    whole call, weights written. `num_mixed`: answers that are not what their version says.

    Each version's answers are known beforehand, so a mixture of two versions shows.
    """
    pair = load_pair(pair_name)
    device = make_runtime(pair, name=runtime, threads=1)
    events = list(stream([Segment(domain="night", num_questions=NUM_QUESTIONS)]))
    questions = [Question(image=event.picture(), text=event.question) for event in events]
    adapters = _adapters(device.adapter())
    expected = {}
    for number, adapter in enumerate(adapters):
        device.swap(adapter, number)
        expected[number] = [device.answer([question])[0] for question in questions]
    num_mixed = 0

    def ask(number: int) -> None:
        nonlocal num_mixed
        place = number % len(questions)
        answer = device.answer([questions[place]])[0]
        wanted = expected[answer.version % NUM_ADAPTERS][place]
        moved = abs(answer.scores["entropy"] - wanted.scores["entropy"]) > TOLERANCE
        num_mixed += int(moved or answer.step_ids != wanted.step_ids)

    with load(ask, threads) as alone:
        time.sleep(5.0)
    num_mixed = 0
    pauses: list[float] = []
    calls: list[float] = []
    with load(ask, threads) as busy:
        for number in track(range(swaps), "swaps", console=Console(stderr=True)):
            start = time.perf_counter()
            pauses.append(device.swap(adapters[number % NUM_ADAPTERS], number))
            calls.append((time.perf_counter() - start) * 1e3)
    differing = len({tuple(a.step_ids for a in answers) for answers in expected.values()})
    return {
        "pair": pair.name,
        "runtime": runtime,
        "swaps": swaps,
        "load_threads": threads,
        "adapters_with_other_answers": differing,
        "answers_meanwhile": len(busy.seconds),
        "num_failed": len(busy.failures),
        "num_mixed": num_mixed,
        "pause_ms": _percentiles(pauses),
        "swap_ms": _percentiles(calls),
        "answer_ms_alone": _percentiles([1e3 * s for s in alone.seconds]),
        "answer_ms_meanwhile": _percentiles([1e3 * s for s in busy.seconds]),
    }


def _adapters(base: Adapter) -> list[Adapter]:
    rng = np.random.default_rng(0)
    return [
        {
            name: (array + rng.normal(size=array.shape) * STEP).astype(np.float32)
            for name, array in base.items()
        }
        for _ in range(NUM_ADAPTERS)
    ]


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "p99": float(np.percentile(values, 99)),
        "max": max(values),
    }
