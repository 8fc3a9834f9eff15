"""What token sampling costs: time of a gate score or a token scorer, as a share of an answer's
time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import track

from driftline_device.config import load_config
from driftline_device.daemon.state_files import StateFiles
from driftline_device.program.assembly import make_sampler
from driftline_device.runtime.factory import RuntimeName, make_runtime
from driftline_device.runtime.runtime import Answer, Question, Runtime
from driftline_device.runtime.scores import SCORERS
from driftline_device.sampling.gate import ood_score
from driftline_lab.data.streams import Segment, stream
from driftline_shared.codec.tokens import AUTO, codec_for, encode_tokens
from driftline_shared.host.clock import SystemClock
from driftline_shared.pair.pair import Pair, load_pair

T = TypeVar("T")

DOMAINS = ("source", "night")
PASSES = 4
RUNS = 5


def run_uts(
    num_questions: int, pair_name: str = "tiny", runtime_name: RuntimeName = "auto"
) -> dict[str, Any]:
    """What sampling takes beside answering.

    `sampling_share`: time of all of a sampler's work at the default policy over the time of the
    answers, by domain; every question is asked, gated, and scored and coded where it is sent.
    `share_of_answer`: each step by itself over the answer it belongs to, medians over `RUNS` rounds
    of `num_questions`; what the gate holds back pays for no token scorer.
    """
    pair = load_pair(pair_name)
    runtime = make_runtime(pair, name=runtime_name)
    sent = {domain: _sampling(runtime, pair, domain, num_questions) for domain in DOMAINS}
    answer_ms, shares = _steps(runtime, pair, num_questions)
    return {
        "pair": pair_name,
        "runtime": type(runtime).__name__,
        "num_questions": num_questions,
        "sampling_share": sent,
        "answer_ms": answer_ms,
        "share_of_answer": shares,
    }


def _sampling(runtime: Runtime, pair: Pair, domain: str, num_questions: int) -> dict[str, float]:
    """One stream of `domain` through a sampler at the default policy."""
    with tempfile.TemporaryDirectory() as state:
        config = load_config(overrides={"state": state, "seed": 0, "cloud": ""})
        sampler = make_sampler(config, pair, StateFiles(config.state), clock=SystemClock())
        answering, sampling = [], []
        num_sent = 0
        for event in stream([Segment(domain=domain, num_questions=RUNS * num_questions)]):
            picture = event.picture()
            start = time.perf_counter()
            answer = runtime.answer([Question(image=picture, text=event.question)])[0]
            middle = time.perf_counter()
            sample = sampler.consider(event.question, answer, runtime, picture)
            answering.append(middle - start)
            sampling.append(time.perf_counter() - middle)
            num_sent += sample is not None
    return {
        "share": sum(sampling) / sum(answering),
        "sent": num_sent / len(answering),
        "median_ms": 1e3 * statistics.median(sampling),
    }


def _steps(runtime: Runtime, pair: Pair, num_questions: int) -> tuple[float, dict[str, float]]:
    """Median milliseconds of an answer, and of each step as a share of it; all tokens are coded,
    as int8 and as the default has it.
    """
    codecs = dict.fromkeys(("int8", codec_for(AUTO, pair.token_space)))
    events = list(stream([Segment(domain="night", num_questions=num_questions)]))
    questions = [Question(image=event.picture(), text=event.question) for event in events]
    seconds: dict[str, list[float]] = {}

    def timed(name: str, step: Callable[[], T]) -> T:
        start = time.perf_counter()
        done = step()
        seconds.setdefault(name, []).append(time.perf_counter() - start)
        return done

    rounds = [question for _ in range(RUNS) for question in questions]
    runtime.answer(questions[:1])
    for number, question in enumerate(
        track(rounds, description="timing", console=Console(stderr=True))
    ):
        # A picture that was answered before may be remembered: one grey level more or less.
        image = question.image ^ np.uint8(number // len(questions))
        text = question.text
        answer = timed("answer", partial(_answer, runtime, Question(image=image, text=text)))
        timed("ood", partial(ood_score, answer.tokens, pair.token_space))
        passes = partial(runtime.mutual_information, text, answer, passes=PASSES, seed=0)
        timed("mutual_information", passes)
        for scorer in SCORERS:
            timed(
                scorer,
                partial(runtime.score_tokens, scorer, text, answer, passes=PASSES, seed=0),
            )
        for codec in codecs:
            timed(f"encode_{codec}", partial(encode_tokens, answer.tokens, pair.token_space, codec))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    answer_s = medians.pop("answer")
    return 1e3 * answer_s, {name: value / answer_s for name, value in medians.items()}


def _answer(runtime: Runtime, question: Question) -> Answer:
    return runtime.answer([question])[0]
