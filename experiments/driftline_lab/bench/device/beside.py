"""This checkout beside another one: answers, scores, memory, and swaps under load, in short turns.

Each checkout has a process of its own that runs this very file over that checkout's packages, so it
uses what both have. They are asked in turn for a moment's work, so that other work on the machine
slows both alike.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOTS = ("proto", "shared", "cloud", "device", "experiments")
NUM_EACH, NUM_SCORED, PASSES, TURNS, LOAD_THREADS, STEP = 10, 3, 4, 4, 2, 0.02
SCORERS = ("mc_dropout", "vocabulary_entropy", "answer_attribution")

Numbers = dict[str, list[float]]


def run_beside(
    other: Path, pairs: Sequence[tuple[str, str]], *, rounds: int, swaps: int
) -> dict[str, Any]:
    """By runtime of `pairs` (pair, runtime): medians and 99th percentiles of each checkout, and
    this one's medians over the other's.

    In each of `rounds` both processes are started anew, since how one lies in memory moves its
    times, and asked `TURNS` times each for answers and scores, then for swaps: `swaps` in all.
    Milliseconds; `cpu`: of the whole process, mean of a turn. `peak_mib`: before any swap.
    """
    checkouts = {"other": other.resolve(), "this": Path(__file__).resolve().parents[4]}
    works = {"answers": NUM_EACH, "memory": 0, "swaps": -(-swaps // (rounds * TURNS))}
    result: dict[str, Any] = {"rounds": rounds, "swaps": works["swaps"] * rounds * TURNS}
    for pair, runtime in pairs:
        found: dict[str, Numbers] = {name: {} for name in checkouts}
        for number in range(rounds):
            with ExitStack() as stack:
                sides = {
                    name: stack.enter_context(_start(checkout, pair, runtime))
                    for name, checkout in checkouts.items()
                }
                for work, count in works.items():
                    for turn in range(TURNS if count else 1):
                        # Take turns at going first.
                        for name in list(sides)[:: 1 if (number + turn) % 2 else -1]:
                            for key, values in _ask(sides[name], work, count).items():
                                found[name].setdefault(key, []).extend(values)
        result[runtime] = {name: _summary(numbers) for name, numbers in found.items()}
        result[runtime]["this_over_other"] = {
            key: round(statistics.median(values) / statistics.median(found["other"][key]), 3)
            for key, values in found["this"].items()
            if statistics.median(found["other"][key])
        }
    return result


def _summary(numbers: Numbers) -> dict[str, dict[str, float]]:
    return {
        key: {"median": statistics.median(values), "p99": float(np.percentile(values, 99))}
        for key, values in numbers.items()
    }


def _start(checkout: Path, pair: str, runtime: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join(str(checkout / root) for root in ROOTS)
    return subprocess.Popen(
        [sys.executable, __file__, pair, runtime],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _ask(side: subprocess.Popen[str], work: str, count: int) -> Numbers:
    assert side.stdin is not None
    assert side.stdout is not None
    side.stdin.write(f"{work} {count}\n")
    side.stdin.flush()
    numbers: Numbers = json.loads(side.stdout.readline())
    return numbers


# -- in the process of one checkout ----------------------------------------------------------------


class _Side:
    """A runtime of one checkout, and what it is asked."""

    def __init__(self, pair: str, runtime: Any) -> None:
        from driftline_device.runtime.factory import make_runtime
        from driftline_lab.data.streams import Segment, stream
        from driftline_shared.pair.pair import load_pair

        self.device: Any = make_runtime(load_pair(pair), name=runtime, threads=1)
        self.events = list(stream([Segment(domain="night", num_questions=NUM_EACH)]))
        self.num_turns = 0
        base, rng = self.device.adapter(), np.random.default_rng(0)
        moved = {
            name: (array + rng.normal(size=array.shape) * STEP).astype(np.float32)
            for name, array in base.items()
        }
        self.adapters = [base, moved]
        self.answers(NUM_EACH)

    def answers(self, count: int) -> Numbers:
        """To pictures that the runtime has not seen, then the scores of some of them."""
        from driftline_device.runtime.runtime import Question

        self.num_turns += 1
        change = np.uint8(self.num_turns % 256)
        questions = [
            Question(image=event.picture() ^ change, text=event.question)
            for event in self.events[:count]
        ]
        found: Numbers = {}
        calls = [partial(self.device.answer, [question]) for question in questions]
        answers = [answer for (answer,) in _timed("answer", calls, found)]
        some = list(zip(questions, answers, strict=True))[:NUM_SCORED]
        options = {"passes": PASSES, "seed": 0}
        doubt, score = self.device.mutual_information, self.device.score_tokens
        calls = [partial(doubt, q.text, answer, **options) for q, answer in some]
        _timed("mutual_information", calls, found)
        for name in SCORERS:
            calls = [partial(score, name, q.text, answer, **options) for q, answer in some]
            _timed(name, calls, found)
        return found

    def memory(self, _count: int) -> Numbers:
        """The most this process has held."""
        return {"peak_mib": [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]}

    def swaps(self, count: int) -> Numbers:
        """Swaps, while threads ask without a pause."""
        from driftline_device.runtime.runtime import Question

        stopping, waits, failed = threading.Event(), [], []
        questions = [Question(image=e.picture(), text=e.question) for e in self.events]

        def load(number: int) -> None:
            while not stopping.is_set():
                start_s = time.perf_counter()
                try:
                    self.device.answer([questions[number % len(questions)]])
                except Exception as error:
                    failed.append(error)
                waits.append(1e3 * (time.perf_counter() - start_s))
                number += 1

        threads = [threading.Thread(target=load, args=(n,)) for n in range(LOAD_THREADS)]
        for thread in threads:
            thread.start()
        pauses, calls = [], []
        for number in range(count):
            start_s = time.perf_counter()
            pauses.append(self.device.swap(self.adapters[number % 2], number))
            calls.append(1e3 * (time.perf_counter() - start_s))
        stopping.set()
        for thread in threads:
            thread.join()
        return {
            "swap.pause_ms": pauses,
            "swap.call_ms": calls,
            "swap.answer_ms": waits,
            "swap.failed": [len(failed)],
        }


def _timed(name: str, calls: Sequence[Callable[[], Any]], found: Numbers) -> list[Any]:
    """What `calls` give; their times are noted in `found`."""
    walls, results, start_cpu_s = [], [], time.process_time()
    for call in calls:
        start_s = time.perf_counter()
        results.append(call())
        walls.append(1e3 * (time.perf_counter() - start_s))
    found[f"{name}.wall_ms"] = walls
    found[f"{name}.cpu_ms"] = [1e3 * (time.process_time() - start_cpu_s) / len(calls)]
    return results


def _serve(pair: str, runtime: str) -> None:
    # Packages may print, logs do: only numbers go to the one who asks.
    out, sys.stdout = sys.stdout, sys.stderr
    side = _Side(pair, runtime)
    works = {"answers": side.answers, "memory": side.memory, "swaps": side.swaps}
    for line in sys.stdin:
        work, count = line.split()
        out.write(json.dumps(works[work](int(count))) + "\n")
        out.flush()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2])
