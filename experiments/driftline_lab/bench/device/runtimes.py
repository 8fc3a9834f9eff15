"""Our language-model graphs beside what an owner would run instead, all in one process tree."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from driftline_lab.bench.device.decoders import language_model
from driftline_lab.bench.device.decoders.decoder import DecoderProcess, Turn
from driftline_lab.bench.device.decoders.table import DECODERS, OURS, check_installed
from driftline_shared.assembly.packages import LANGUAGE_MODEL, locate

PROMPT, NEW = 129, 64
"""Tokens read and decoded in a turn."""

BASELINE = "torch"


def run_runtimes(
    work: Path, *, names: Sequence[str] = DECODERS, rounds: int = 5, threads: int = 2
) -> dict[str, Any]:
    """Medians over `rounds` turns of each runtime, turn by turn in alternation; one more warms up.

    Rates are tokens a second; `peak_bytes` is of the runtime's own process. `agreement`: share of
    the decoded tokens that equal torch's in fp32, before the first difference.
    """
    check_installed(names)
    work.mkdir(parents=True, exist_ok=True)
    prompt = language_model.prompt_ids(work, PROMPT)
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as logs:
        running = [
            DecoderProcess(name, MODELS[name](work), threads, Path(logs) / name) for name in names
        ]
        try:
            for number in track(range(rounds + 1), "rounds", console=Console(stderr=True)):
                for process in running:
                    turn = process.turn(prompt, NEW)
                    if number:
                        turns[process.name].append(turn)
        finally:
            for process in running:
                process.close()
    table = {
        process.name: _row(turns[process.name], process.peak_bytes, turns.get(BASELINE))
        for process in running
    }
    return {"prompt": PROMPT, "new": NEW, "rounds": rounds, "threads": threads, "runtimes": table}


MODELS: dict[str, Callable[[Path], Path]] = {
    "torch": language_model.checkpoint,
    "genai": language_model.genai_folder,
    "llama.cpp": lambda _work: locate(LANGUAGE_MODEL),
    **{f"onnx-{name}": language_model.our_folder for name in OURS},
}
"""What each runtime reads."""


def _row(turns: Sequence[Turn], peak_bytes: int, baseline: Sequence[Turn] | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "prefill_per_s": statistics.median(PROMPT / turn.prefill_s for turn in turns),
        "decode_per_s": statistics.median(NEW / turn.decode_s for turn in turns),
        "peak_bytes": peak_bytes,
    }
    if baseline:
        row["prefill_of_torch"] = row["prefill_per_s"] / statistics.median(
            PROMPT / turn.prefill_s for turn in baseline
        )
        row["decode_of_torch"] = row["decode_per_s"] / statistics.median(
            NEW / turn.decode_s for turn in baseline
        )
        row["agreement"] = _same(turns[0].tokens, baseline[0].tokens) / len(turns[0].tokens)
    return row


def _same(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many tokens are equal before the first that differs."""
    return next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(ours))
