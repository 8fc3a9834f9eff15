"""What token sampling costs: time of a gate score or a token scorer, as a share of an answer's
time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import track

from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.torch import TorchRuntime
from driftline_device.sampling.ood import ood_score
from driftline_lab.data.streams import Segment, stream
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.models.pair import load_pair

SCORERS = ("mc_dropout", "vocabulary_entropy", "answer_attribution")
PASSES = 4
RUNS = 5


def run_uts(num_questions: int, pair_name: str = "tiny") -> dict[str, Any]:
    """Medians over `RUNS` rounds of `num_questions`, every step timed beside the answer it belongs
    to.

    `share` is step time over answer time for a question that is sent; questions that the gate holds
    back pay for the gate score alone.
    """
    pair = load_pair(pair_name)
    runtime = TorchRuntime(pair, threads=1)
    events = list(stream([Segment(domain="night", num_questions=num_questions)]))
    questions = [Question(image=event.picture(), text=event.question) for event in events]
    seconds: dict[str, list[float]] = {}

    def timed(name: str, step: Callable[[], object]) -> None:
        start = time.perf_counter()
        step()
        seconds.setdefault(name, []).append(time.perf_counter() - start)

    rounds = [question for _ in range(RUNS) for question in questions]
    runtime.answer(questions[:1])
    for question in track(rounds, description="timing", console=Console(stderr=True)):
        start = time.perf_counter()
        answer: Answer = runtime.answer([question])[0]
        seconds.setdefault("answer", []).append(time.perf_counter() - start)
        text = question.text
        timed("ood", partial(ood_score, answer.tokens, pair.token_space))
        passes = partial(runtime.mutual_information, text, answer, passes=PASSES, seed=0)
        timed("mutual_information", passes)
        for scorer in SCORERS:
            timed(
                scorer,
                partial(runtime.score_tokens, scorer, text, answer, passes=PASSES, seed=0),
            )
        timed("encode_int8", partial(encode_tokens, answer.tokens, pair.token_space, "int8"))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "pair": pair_name,
        "num_questions": num_questions,
        "answer_ms": 1e3 * medians["answer"],
        "share_of_answer": {
            name: value / medians["answer"] for name, value in medians.items() if name != "answer"
        },
    }
