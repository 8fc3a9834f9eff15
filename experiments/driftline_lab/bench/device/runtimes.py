"""Our language-model graphs beside what an owner would run instead, all in one process tree."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from driftline_lab.bench.device.decoders import language_model
from driftline_lab.bench.device.decoders.decoder import DecoderProcess, Turn
from driftline_lab.bench.device.decoders.onnx_decoder import token_bytes
from driftline_lab.bench.device.decoders.table import DECODERS, OURS, check_installed
from driftline_shared.assembly.packages import LANGUAGE_MODEL, locate

PROMPT, NEW = 129, 64
"""Tokens read and decoded in a turn, unless other numbers are asked for."""

BASELINE = "torch"

_READ_BYTES, _READS = 512 << 20, 9


def run_runtimes(
    work: Path,
    *,
    names: Sequence[str] = DECODERS,
    rounds: int = 7,
    threads: int = 2,
    num_prompt: int = PROMPT,
) -> dict[str, Any]:
    """Medians over `rounds` turns of each runtime, turn by turn in alternation; one more warms up.

    Rates are tokens a second; `peak_bytes` is of the runtime's own process. `agreement`: share of
    the decoded tokens that equal torch's in fp32, before the first difference. `roofline`: what
    decoding could reach if nothing but reading the weights cost anything.
    """
    check_installed(names)
    work.mkdir(parents=True, exist_ok=True)
    prompt = language_model.prompt_ids(work, num_prompt)
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
        process.name: _row(turns[process.name], process.peak_bytes, turns.get(BASELINE), num_prompt)
        for process in running
    }
    found = {"prompt": num_prompt, "new": NEW, "rounds": rounds, "threads": threads}
    return {**found, "runtimes": table, "roofline": roofline(work, names, threads)}


def roofline(work: Path, names: Sequence[str], threads: int) -> dict[str, Any]:
    """Bytes a second that `threads` read from memory, and of our graphs the bytes that a decoded
    token reads, and so the most tokens a second.
    """
    speed, ours = read_bytes_per_s(threads), language_model.our_folder(work)
    read = {
        name: token_bytes(ours, name.removeprefix("onnx-"))
        for name in names
        if name.startswith("onnx-")
    }
    return {
        "read_bytes_per_s": speed,
        "token_bytes": read,
        "most_decode_per_s": {name: speed / num for name, num in read.items()},
    }


def read_bytes_per_s(threads: int) -> float:
    """Of a sum over more than any cache holds: median of a few."""
    import torch

    torch.set_num_threads(threads)
    array = torch.ones(_READ_BYTES // 4, dtype=torch.int32)
    taken = []
    for _ in range(_READS):
        start = time.perf_counter()
        array.max()
        taken.append(time.perf_counter() - start)
    return _READ_BYTES / statistics.median(taken)


MODELS: dict[str, Callable[[Path], Path]] = {
    "torch": language_model.checkpoint,
    "genai": language_model.genai_folder,
    "llama.cpp": lambda _work: locate(LANGUAGE_MODEL),
    **{f"onnx-{name}": language_model.our_folder for name in OURS},
}
"""What each runtime reads."""


def _row(
    turns: Sequence[Turn], peak_bytes: int, baseline: Sequence[Turn] | None, num_prompt: int
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "prefill_per_s": statistics.median(num_prompt / turn.prefill_s for turn in turns),
        "decode_per_s": statistics.median(NEW / turn.decode_s for turn in turns),
        "peak_bytes": peak_bytes,
    }
    if baseline:
        row["prefill_of_torch"] = row["prefill_per_s"] / statistics.median(
            num_prompt / turn.prefill_s for turn in baseline
        )
        row["decode_of_torch"] = row["decode_per_s"] / statistics.median(
            NEW / turn.decode_s for turn in baseline
        )
        row["agreement"] = _same(turns[0].tokens, baseline[0].tokens) / len(turns[0].tokens)
    return row


def _same(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """How many tokens are equal before the first that differs."""
    return next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b), len(ours))
