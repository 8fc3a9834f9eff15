"""An export beside its fp32 twin and the torch runtime: answers, scores and time to an answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr

from driftline_device.runtime.factory import make_runtime
from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.scores import SCORERS
from driftline_device.sampling.calibration import TokenRuntime
from driftline_lab.data.streams import Segment, stream
from driftline_shared.pair.pair import load_pair

DOMAINS = ("source", "night", "sketch")
PASSES = 4
TWIN = "fp32"

Runtimes = Mapping[str, TokenRuntime]


def run_answers(
    pair: str, export: str, *, num_questions: int, num_scored: int, rounds: int, threads: int
) -> dict[str, Any]:
    """`agreement`: share of answers equal to the twin's; `spearman`: of scores with the twin's.

    Questions come in equal parts from a source and two drifted domains of the stream. Scores of
    answers are ranked over the questions, scores of tokens within each of the first `num_scored`
    (mean over them). Times are medians of `rounds` passes over as many pictures, no picture asked
    about twice, in alternation; one pass warms up.
    """
    exported = load_pair(export)
    assert exported.exported is not None
    runtimes: dict[str, Any] = {"torch": make_runtime(load_pair(pair), name="torch")}
    for precision in sorted(exported.exported.precisions):
        runtimes[precision] = make_runtime(
            exported, name="onnx", precision=precision, threads=threads
        )
    each = num_questions // len(DOMAINS)
    events = list(stream([Segment(domain=name, num_questions=each) for name in DOMAINS]))
    questions = [Question(image=event.picture(), text=event.question) for event in events]
    runs = {name: _answers(name, runtime, questions) for name, runtime in runtimes.items()}
    table = {
        name: {
            "agreement": float(
                np.mean([a.text == b.text for a, b in zip(runs[name], runs[TWIN], strict=True)])
            ),
            "spearman": _spearman(runtimes, runs, name, questions[:num_scored]),
        }
        for name in runtimes
        if name != TWIN
    }
    return {
        "pair": exported.name,
        "num_questions": len(questions),
        "num_scored": min(num_scored, len(questions)),
        "against_fp32": table,
        "answer_ms": _times(runtimes, questions, rounds),
        "threads": threads,
    }


def _answers(name: str, runtime: TokenRuntime, questions: Sequence[Question]) -> list[Answer]:
    console = Console(stderr=True)
    return [runtime.answer([question])[0] for question in track(questions, name, console=console)]


def _spearman(
    runtimes: Runtimes,
    runs: Mapping[str, Sequence[Answer]],
    name: str,
    scored: Sequence[Question],
) -> dict[str, float]:
    found = {
        kind: _rank([a.scores[kind] for a in runs[name]], [a.scores[kind] for a in runs[TWIN]])
        for kind in ("entropy", "margin")
    }
    doubts: dict[str, list[float]] = {name: [], TWIN: []}
    ranks: dict[str, list[float]] = {scorer: [] for scorer in SCORERS}
    for number, question in enumerate(
        track(scored, f"scores {name}", console=Console(stderr=True))
    ):
        text = question.text
        for side in doubts:
            doubts[side].append(
                runtimes[side].mutual_information(
                    text, runs[side][number], passes=PASSES, seed=number
                )
            )
        for scorer in SCORERS:
            ours, theirs = (
                runtimes[side].score_tokens(
                    scorer, text, runs[side][number], passes=PASSES, seed=number
                )
                for side in (name, TWIN)
            )
            ranks[scorer].append(_rank(ours, theirs))
    found["mutual_information"] = _rank(doubts[name], doubts[TWIN])
    return found | {scorer: statistics.mean(values) for scorer, values in ranks.items()}


def _rank(ours: Sequence[float] | NDArray[Any], theirs: Sequence[float] | NDArray[Any]) -> float:
    return float(spearmanr(ours, theirs).statistic)


def _times(runtimes: Runtimes, questions: Sequence[Question], rounds: int) -> dict[str, float]:
    """Median milliseconds to an answer; each picture is new to the runtime it is shown to."""
    size = len(questions) // (rounds + 1)
    seconds: dict[str, list[float]] = {name: [] for name in runtimes}
    for number in range(rounds + 1):
        for question in questions[number * size : (number + 1) * size]:
            # One grey level more: a picture that was answered before may be remembered.
            fresh = Question(image=question.image ^ np.uint8(1), text=question.text)
            for name, runtime in runtimes.items():
                start = time.perf_counter()
                runtime.answer([fresh])
                if number:
                    seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
