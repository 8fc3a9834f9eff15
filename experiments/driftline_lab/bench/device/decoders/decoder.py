"""What every language-model runtime of the comparison can do, and one process that does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from driftline_lab.bench.memory import peak_bytes
from driftline_shared.errors import DriftlineError


class Decoder(ABC):
    """A language model that is run step by step; greedy."""

    @abstractmethod
    def reset(self) -> None:
        """Forget everything that was read."""

    @abstractmethod
    def read(self, ids: list[int]) -> int:
        """Read these tokens, too; the most likely next one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One prompt read and so many tokens decoded. Times in seconds."""

    prefill_s: float
    decode_s: float
    tokens: list[int]


def take_turn(decoder: Decoder, prompt: Sequence[int], num_new: int) -> Turn:
    """Read `prompt`, then decode `num_new` tokens, whatever they are: none ends it."""
    start = time.perf_counter()
    decoder.reset()
    token = decoder.read(list(prompt))
    prefill_s = time.perf_counter() - start
    tokens = [token]
    start = time.perf_counter()
    for _ in range(num_new):
        token = decoder.read([token])
        tokens.append(token)
    return Turn(prefill_s=prefill_s, decode_s=time.perf_counter() - start, tokens=tokens)


def serve(decoder: Decoder) -> None:
    """Answer one JSON line a turn on standard output, until standard input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        turn = take_turn(decoder, asked["prompt"], asked["num_new"])
        report = {**asdict(turn), "peak_bytes": peak_bytes(os.getpid())}
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


class DecoderProcess:
    """A decoder in a process of its own, so that its memory is its own and no threads fight."""

    def __init__(self, name: str, model: Path, threads: int, log: Path) -> None:
        self.name = name
        self.peak_bytes = 0
        command = [sys.executable, "-m", "driftline_lab.bench.device.decoders.worker", name]
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [*command, str(model), str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self._log = log

    def turn(self, prompt: Sequence[int], num_new: int) -> Turn:
        """One turn; DriftlineError with the end of its log when the process died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"prompt": list(prompt), "num_new": num_new}))
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            tail = self._log.read_text(errors="replace", encoding="utf-8")[-2000:]
            raise DriftlineError(f"{self.name} ended with {self._process.wait()}: {tail}")
        report = json.loads(line)
        self.peak_bytes = report.pop("peak_bytes")
        return Turn(**report)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
