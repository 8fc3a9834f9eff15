"""A picture's first and second question: how long each takes, and on what."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from driftline_device.runtime.factory import make_runtime, precision_of
from driftline_device.runtime.runtime import Answer, Question, Runtime
from driftline_shared.errors import PairError
from driftline_shared.pair.pair import Pair, load_pair

_DIGITS = 2


@dataclass(slots=True)
class _Times:
    """Milliseconds of questions: by the clock and of the processor in all, and of the processor
    until the first token is there.
    """

    wall_ms: list[float] = field(default_factory=list)
    all_ms: list[float] = field(default_factory=list)
    first_token_ms: list[float] = field(default_factory=list)
    num_tokens: list[int] = field(default_factory=list)

    def document(self) -> dict[str, float]:
        """Medians. `wall_ms` by the clock, the others of the processor: `ms` in all, `reading_ms`
        of picture, prompt and first token, `writing_ms` of those after it.
        """
        writing = [a - b for a, b in zip(self.all_ms, self.first_token_ms, strict=True)]
        return {
            "wall_ms": round(statistics.median(self.wall_ms), _DIGITS),
            "ms": round(statistics.median(self.all_ms), _DIGITS),
            "reading_ms": round(statistics.median(self.first_token_ms), _DIGITS),
            "writing_ms": round(statistics.median(writing), _DIGITS),
            "tokens": statistics.median(self.num_tokens),
        }


class _Subject:
    """A pair in a runtime, with pictures that nobody has asked about."""

    def __init__(self, name: str, pair: Pair, threads: int) -> None:
        self.runtime: Runtime = make_runtime(pair, threads=threads)
        self.row: dict[str, Any] = {
            "pair": pair.name,
            "runtime": "torch" if pair.exported is None else "onnx",
            "precision": precision_of(pair),
        }
        self.first, self.second = _Times(), _Times()
        self.asked: list[tuple[Question, Answer]] = []
        self._questions = _questions(name, pair)

    def turn(self, *, counts: bool) -> None:
        """A picture's two questions."""
        for times, question in zip((self.first, self.second), next(self._questions), strict=True):
            answer = _timed(self.runtime, question, times if counts else _Times())
        if counts:
            self.asked.append((question, answer))

    def document(self) -> dict[str, Any]:
        """Times, and whether second questions are answered as they are where they are the first."""
        # A swap leaves nothing to go on from; the adapter stays.
        self.runtime.swap(self.runtime.adapter(), self.runtime.version)
        alone = [self.runtime.answer([question])[0] for question, _ in self.asked]
        same = [
            wanted.step_ids == answer.step_ids
            for wanted, (_, answer) in zip(alone, self.asked, strict=True)
        ]
        first, second = self.first.document(), self.second.document()
        return {
            **self.row,
            "prompt_tokens": self.asked[0][1].num_prompt_tokens,
            "first": first,
            "second": second,
            "share": round(second["ms"] / first["ms"], 3),
            "share_of_wall": round(second["wall_ms"] / first["wall_ms"], 3),
            "share_of_reading": round(second["reading_ms"] / first["reading_ms"], 3),
            "same_answers": statistics.fmean(same),
        }


def run_second_question(
    pairs: Sequence[str], *, rounds: int = 15, threads: int = 1
) -> dict[str, Any]:
    """Medians over `rounds` pictures, in alternation; one more warms up. `pairs`: names, folders,
    exports. Time of the processor is what other work on the machine changes least.
    """
    subjects = [_Subject(name, load_pair(name), threads) for name in pairs]
    for number in track(range(rounds + 1), "asking", console=Console(stderr=True)):
        for subject in subjects:
            subject.turn(counts=number > 0)
    rows = [subject.document() for subject in subjects]
    return {"rounds": rounds, "threads": threads, "pairs": rows}


def _questions(name: str, pair: Pair) -> Iterator[tuple[Question, Question]]:
    """Two different questions about each of endlessly many pictures of the self-check set."""
    probe = pair.probe_set()
    texts = list(dict.fromkeys(item.question for item in probe))
    if len(texts) < 2:
        raise PairError(f"{name} has no self-check set with two questions to ask")
    for number in itertools.count():
        image = probe[number % len(probe)].image.copy()
        # One that was never seen, whatever number of rounds.
        image[0, 0] = np.frombuffer(number.to_bytes(3, "little"), dtype=np.uint8)
        two = texts[number % len(texts)], texts[(number + 1) % len(texts)]
        first, second = (Question(image=image, text=text, shared=True) for text in two)
        yield first, second


def _timed(runtime: Runtime, question: Question, times: _Times) -> Answer:
    wall_s, began_s = time.perf_counter(), time.process_time()
    heard_s: list[float] = []
    (answer,) = runtime.answer(
        [question], on_token=lambda _row, _text: heard_s.append(time.process_time())
    )
    times.all_ms.append(1e3 * (time.process_time() - began_s))
    times.wall_ms.append(1e3 * (time.perf_counter() - wall_s))
    times.first_token_ms.append(1e3 * (heard_s[0] - began_s))
    times.num_tokens.append(answer.num_steps)
    return answer
