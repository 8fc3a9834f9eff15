"""How long a spool takes to open, by how much lies in it."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from driftline_device.spool.sqlite import SqliteSpool
from driftline_shared.tokens import CodedTokens, Grid, Sample
from driftline_shared.wire import EncodedSample

RUNS = 5
MAX_BYTES = 1 << 40
PAYLOAD_BYTES = 4_000
"""About what 32 int8 tokens of 128 channels take."""


def run_spool(num_samples: int) -> dict[str, Any]:
    """Medians of `RUNS`: seconds to open an empty spool, one with `num_samples`, and a full one."""
    with tempfile.TemporaryDirectory() as folder:
        full, empty = Path(folder) / "full.db", Path(folder) / "empty.db"
        fill(full, num_samples)
        seconds = {"full": [], "empty": []}  # type: dict[str, list[float]]
        for _ in range(RUNS):
            for name, path in (("full", full), ("empty", empty)):
                seconds[name].append(_open_s(path, num_samples))
        size = full.stat().st_size
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "num_samples": num_samples,
        "file_bytes": size,
        "open_full_s": medians["full"],
        "open_empty_s": medians["empty"],
        "ratio": medians["full"] / medians["empty"],
    }


def fill(path: Path, num_samples: int) -> None:
    """Make a spool at `path` that holds so many samples of random bytes."""
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as scratch:
        made = Path(scratch) / "full.db"
        spool = SqliteSpool(made, max_bytes=MAX_BYTES, max_samples=num_samples)
        rng = np.random.default_rng(0)
        payload = rng.bytes(PAYLOAD_BYTES)
        console = Console(stderr=True)
        for number in track(range(num_samples), description="filling the spool", console=console):
            spool.append(_sample(number, payload, float(rng.random())))
        spool.close()
        shutil.copy(made, path)


def _memory_folder() -> str | None:
    """Where a sync costs nothing: filling is not what is measured, and each append syncs."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _open_s(path: Path, num_samples: int) -> float:
    start = time.perf_counter()
    spool = SqliteSpool(path, max_bytes=MAX_BYTES, max_samples=num_samples)
    spool.stats()
    spool.peek(max_bytes=1 << 20, max_samples=1)
    elapsed = time.perf_counter() - start
    spool.close()
    return elapsed


def _sample(number: int, payload: bytes, priority: float) -> EncodedSample:
    tokens = CodedTokens(codec="int8", num_tokens=32, grid=Grid(rows=8, cols=8), payload=payload)
    return EncodedSample.of(
        Sample(
            id=number.to_bytes(16, "big"),
            question="what shape is in the image?",
            answer="circle",
            tokens=tokens,
            scores={"entropy": priority},
            priority=priority,
            created_unix_s=0,
            adapter_version=0,
        )
    )
