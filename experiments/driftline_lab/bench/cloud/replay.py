"""How fast a trace is replayed, whether its memory is flat, and whether its numbers are the same.

Each replay runs in a process of its own, so that one's memory is not the next one's start:
`python -m driftline_lab.bench.cloud.replay TRACE OPTIONS` prints what `measure` gives.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from driftline_lab.bench.memory import peak_bytes, resident_bytes
from driftline_lab.recording.source import record_source
from driftline_lab.replay.links import profile_named
from driftline_lab.replay.run import run_replay
from driftline_lab.replay.settings import ReplayOptions
from driftline_shared.pair.pair import load_pair
from driftline_shared.program.logs import setup_logs

READINGS = 100
"""Readings of the memory in one replay."""

SETTINGS: dict[str, object] = {
    "rounds.trigger.round_samples": 2_048,
    "rounds.trigger.drift_share": 0.0,
    "rounds.holdout_share": 0.02,
    "rounds.rehearsal_samples": 32,
    "rounds.recall_samples": 32,
    "distil.threads": 1,
    "distil.extra_questions": 0,
    "distil.num_source_rows": 32,
    "distil.gate_source_rows": 32,
    "distil.min_steps": 5,
    "distil.max_steps": 5,
    "gate.sure_of_gain": 0.0,
    "gate.sure_of_harm": 1.0,
    "gate.sure_of_source_harm": 1.0,
}
"""Rounds that are short and always pass the gate: what is timed is the system round them."""


def run_replay_bench(
    pair_name: str,
    *,
    num_samples: int,
    rate: float,
    link: str,
    processes: bool,
    say: Any,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Make a trace of `num_samples`, replay it twice on one cache, and once more as two processes.

    `first` works out what `cache` does not hold (None: everything), `again` finds all of it there.
    """
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as scratch:
        folder = Path(scratch)
        say(f"making a trace of {num_samples} samples …")
        record_source(folder / "trace", load_pair(pair_name), count=num_samples, seed=0, rate=rate)
        given: dict[str, Any] = {
            "pair": pair_name,
            "link": link,
            "cache": str(cache or folder / "cache"),
        }
        runs = {"first": given, "again": given}
        if processes:
            runs["two_processes"] = {**given, "processes": True}
        found = {}
        for name, options in runs.items():
            say(f"replaying: {name} …")
            found[name] = _in_a_process(folder / "trace", options)
    again = found["again"]
    return {
        "pair": pair_name,
        "num_samples": num_samples,
        "rate": rate,
        "link": link,
        "settings": SETTINGS,
        "load_average": round(os.getloadavg()[0], 1),
        "runs": found,
        "times_real": again["times_real"],
        "rss_change": again["rss_change"],
        "same_metrics": len({each["metrics_sha256"] for each in found.values()}) == 1,
    }


def measure(trace: Path, options: dict[str, Any]) -> dict[str, Any]:
    """One replay in this process: speed, memory, the digest of its metrics file."""
    readings: list[int] = []
    started_s = time.process_time()

    def read(done: int, total: int) -> None:
        if done % max(1, total // READINGS) == 0:
            readings.append(resident_bytes(os.getpid()))

    with tempfile.TemporaryDirectory(prefix="driftline-run-") as out:
        result = run_replay(
            trace,
            ReplayOptions(
                pair=options["pair"],
                link=profile_named(options["link"]),
                cache=Path(options["cache"]),
                processes=options.get("processes", False),
                cloud_settings=SETTINGS,
            ),
            out=Path(out),
            on_progress=read,
        )
        digest = hashlib.sha256((Path(out) / "metrics.json").read_bytes()).hexdigest()
    third = len(readings) // 3
    early, late = statistics.mean(readings[:third]), statistics.mean(readings[-third:])
    metrics = result.metrics
    return {
        "wall_s": round(result.wall_s, 2),
        "cpu_s": round(time.process_time() - started_s, 2),
        "virtual_s": metrics.numbers["virtual_s"],
        "times_real": round(result.times_real, 1),
        "rss_bytes": readings,
        "rss_first_third_bytes": round(early),
        "rss_last_third_bytes": round(late),
        "rss_change": round(late / early - 1.0, 4),
        "rss_peak_bytes": peak_bytes(os.getpid()),
        "metrics_sha256": digest,
        "rounds": len(metrics.rounds),
        "updates": len(metrics.updates),
        "hits": result.hits,
    }


def _in_a_process(trace: Path, options: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(trace), json.dumps(options)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    setup_logs(level="error")
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]), json.loads(sys.argv[2]))) + "\n")
