"""From the start of a process to its first answer, by runtime, and beside a full spool."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import track

from driftline_lab.bench.device.spool import MAX_BYTES, fill
from driftline_lab.bench.memory import peak_bytes
from driftline_lab.data.streams import Segment, stream
from driftline_lab.demo.processes import command
from driftline_shared.errors import DriftlineError


def run_starts(
    pairs: Sequence[tuple[str, str]], *, rounds: int, num_samples: int, work: Path
) -> dict[str, Any]:
    """Seconds of `driftline device run` on one row: `pairs` are (pair or export, runtime).

    Medians over `rounds`, in alternation: to the first answer with an empty spool, and with one of
    `num_samples`. `peak_bytes`: the most memory the process had by then, with the empty one.
    """
    source = _one_row(work)
    cases = {}
    for pair, runtime in pairs:
        for name, held in (("empty", 0), ("full", num_samples)):
            state = work / f"{runtime}-{name}"
            state.mkdir(parents=True)
            if held:
                fill(state / "spool.sqlite", held)
            cases[runtime, name] = (pair, runtime, state)
    seconds: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    peaks: dict[str, list[int]] = {runtime: [] for _, runtime in pairs}
    for number in track(range(rounds + 1), "starting", console=Console(stderr=True)):
        for case, (pair, runtime, state) in cases.items():
            taken, peak = _first_answer(pair, runtime, state, source)
            if number:
                seconds[case].append(taken)
                if case[1] == "empty":
                    peaks[runtime].append(peak)
    table: dict[str, dict[str, float]] = {}
    for (runtime, name), values in seconds.items():
        table.setdefault(runtime, {})[name] = statistics.median(values)
    return {
        "rounds": rounds,
        "spooled": num_samples,
        "seconds_to_first_answer": table,
        "peak_bytes": {runtime: statistics.median(values) for runtime, values in peaks.items()},
    }


def _first_answer(pair: str, runtime: str, state: Path, source: Path) -> tuple[float, int]:
    events = state / "events.jsonl"
    events.unlink(missing_ok=True)
    words = command("device", "run", "--pair", pair, "--state", str(state), "--hold")
    words += ["--source", str(source), "--events", str(events), "--set", f"runtime={runtime}"]
    words += ["--set", f"spool.max_bytes={MAX_BYTES}", "--set", "spool.max_samples=1000000"]
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not (events.exists() and events.stat().st_size):
            if process.poll() is not None and not events.exists():
                raise DriftlineError(
                    f"the device ended with {process.returncode}",
                    fix="Run `driftline device doctor`, which says what it lacks.",
                )
            time.sleep(0.005)
        return time.perf_counter() - start, peak_bytes(process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=60.0)


def _one_row(work: Path) -> Path:
    event = next(iter(stream([Segment(domain="night", num_questions=1)])))
    work.mkdir(parents=True, exist_ok=True)
    Image.fromarray(event.picture()).save(work / "row.png")
    source = work / "row.jsonl"
    source.write_text(f'{{"image": "row.png", "question": "{event.question}"}}\n', encoding="utf-8")
    return source
