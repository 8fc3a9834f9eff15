"""An export beside its fp32 twin and the torch runtime: answers, scores and time to an answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
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
from driftline_lab.data.domains import SOURCE
from driftline_lab.data.streams import Segment, stream
from driftline_lab.demo.evaluate import read_test_set
from driftline_shared.exact_match import is_correct
from driftline_shared.pair.pair import load_pair

DOMAINS = ("source", "night", "sketch")
PASSES = 4
TWIN = "fp32"

Runtimes = Mapping[str, TokenRuntime]


def run_answers(
    pair: str,
    export: str,
    *,
    data: Path | None,
    num_questions: int,
    num_scored: int,
    rounds: int,
    threads: int,
) -> dict[str, Any]:
    """`agreement`: share of answers equal to the twin's, in all and `by_domain`; `right`: share
    equal to the truth by domain; `spearman`: of scores with the twin's.

    Questions come from the test sets in the folder `data`, as `driftline lab stream` writes it, all
    of them; None: in equal parts from a source and two drifted domains of easy-VQA's stream. Scores
    of answers are ranked over the questions, scores of tokens within each of the first `num_scored`
    (mean over them; 0: none). Times are medians of `rounds` passes over as many pictures, no
    picture asked about twice, in alternation; one pass warms up.
    """
    exported = load_pair(export)
    assert exported.exported is not None
    runtimes: dict[str, Any] = {"torch": make_runtime(load_pair(pair), name="torch")}
    for precision in sorted(exported.exported.precisions):
        runtimes[precision] = make_runtime(
            exported, name="onnx", precision=precision, threads=threads
        )
    questions = _of_easyvqa(num_questions) if data is None else _of_folder(data)
    runs = {name: _answers(name, runtime, questions) for name, runtime in runtimes.items()}
    alike = {
        name: [a.text == b.text for a, b in zip(run, runs[TWIN], strict=True)]
        for name, run in runs.items()
    }
    table = {
        name: {
            "agreement": float(np.mean(alike[name])),
            "by_domain": by_domain(alike[name], questions),
            "spearman": _spearman(runtimes, runs, name, questions[:num_scored])
            if num_scored
            else {},
        }
        for name in runtimes
        if name != TWIN
    }
    return {
        "pair": exported.name,
        "num_questions": len(questions),
        "num_scored": min(num_scored, len(questions)),
        "against_fp32": table,
        "right": {name: _right(run, questions) for name, run in runs.items()},
        "answer_ms": _times(runtimes, questions, rounds),
        "threads": threads,
    }


def _of_easyvqa(num_questions: int) -> list[Question]:
    each = num_questions // len(DOMAINS)
    return [
        Question(
            image=event.picture(), text=event.question, truth=event.answer, domain=event.domain
        )
        for event in stream([Segment(domain=name, num_questions=each) for name in DOMAINS])
    ]


def _of_folder(folder: Path) -> list[Question]:
    """All rows of its test sets. Raises DataError where there are none."""
    files = ((SOURCE, "source_test.jsonl"), ("drifted", "test.jsonl"))
    return [row for domain, name in files for row in read_test_set(domain, folder / name).rows]


def by_domain(holds: Sequence[bool], questions: Sequence[Question]) -> dict[str, float]:
    """The share of each domain's questions for which it `holds`."""
    domains: dict[str, list[bool]] = {}
    for one, question in zip(holds, questions, strict=True):
        domains.setdefault(question.domain or "", []).append(one)
    return {domain: float(np.mean(each)) for domain, each in domains.items()}


def _right(run: Sequence[Answer], questions: Sequence[Question]) -> dict[str, float]:
    right = [is_correct(a.text, q.truth or "") for a, q in zip(run, questions, strict=True)]
    return by_domain(right, questions)


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
