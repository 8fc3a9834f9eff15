"""Recording a trace without a device: questions with pictures, answered by the student at a pace
that is written down, not waited for.

The student is version 0 throughout: what a policy, a link or a learner makes of the stream is for
a replay to find out. Samples are chosen by the device's own sampler where a policy is given.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from driftline_device.runtime.runtime import Answer, Question
from driftline_device.runtime.torch.runtime import TorchRuntime
from driftline_device.sampling.sampler import Sampler
from driftline_device.updates.watch import uncertainty
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.exact_match import is_correct
from driftline_shared.ids import new_sample_id
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.manifest import Manifest, Subject
from driftline_shared.trace.tokens import AllTokens, all_fields, coded_fields
from driftline_shared.trace.writer import PartLimits, open_writer
from driftline_shared.wire import EncodedSample

BATCH = 16
START_UNIX_S = 1_767_225_600.0
"""The moment of the first question: the first of January 2026, UTC. Made traces have no other."""


@dataclass(frozen=True, kw_only=True)
class RecordingPlan:
    """How a trace is made. `rate`: questions a second. `all_tokens`: how all tokens are kept.

    `policy`: which answers become samples; None: none do. `part_rows`: rows of a part.
    """

    seed: int
    rate: float = 2.0
    policy: SamplingPolicy | None = None
    all_tokens: AllTokens = "fp16"
    device_id: str = "device-made"
    source: str = ""
    licence: str = ""
    part_rows: int = 1_024


class _PacedClock:
    """Moves by the rate alone."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now_s(self) -> float:
        return START_UNIX_S + self.passed_s

    def monotonic_s(self) -> float:
        return self.passed_s

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def wait(self, event: object, seconds: float) -> bool:
        raise NotImplementedError


def record(
    folder: Path,
    pair: Pair,
    questions: Iterable[tuple[str, Question]],
    plan: RecordingPlan,
    *,
    num_questions: int = 0,
    progress: Progress = ignore,
) -> Manifest:
    """Write the trace of `questions` ((segment, question) in order) into `folder`.

    `num_questions`: for `progress` only. Raises ConfigError for a folder with another trace.
    """
    runtime = TorchRuntime(pair)
    subject = Subject(
        pair=pair.name,
        base_model=pair.base_model,
        token_space=pair.token_space.digest,
        token_width=pair.token_space.width,
        recorder="lab",
        source=plan.source,
    )
    clock, rng = _PacedClock(), random.Random(plan.seed)
    sampler = None
    if plan.policy is not None:
        sampler = Sampler(
            space=pair.token_space,
            calibration=pair.gate,
            policy=plan.policy,
            rng=np.random.default_rng(plan.seed),
            new_id=lambda: new_sample_id(clock, rng.randbytes),
            clock=clock,
        )
    limits = PartLimits(rows=plan.part_rows)
    number = 0
    with open_writer(
        folder, subject, seed=plan.seed, licence=plan.licence, limits=limits
    ) as writer:
        for block in _blocks(questions):
            answers = runtime.answer([question for _, question in block])
            events = []
            for (segment, question), answer in zip(block, answers, strict=True):
                clock.passed_s = number / plan.rate
                sample = None
                if sampler is not None:
                    sample = sampler.consider(question.text, answer, runtime)
                events.append(_event(pair, plan, clock, segment, question, answer, sample))
                number += 1
            writer.write_next(events)
            progress(number / max(num_questions, number))
    return writer.manifest


def _blocks(
    questions: Iterable[tuple[str, Question]],
) -> Iterator[list[tuple[str, Question]]]:
    rows = iter(questions)
    while block := list(islice(rows, BATCH)):
        yield block


def _event(
    pair: Pair,
    plan: RecordingPlan,
    clock: _PacedClock,
    segment: str,
    question: Question,
    answer: Answer,
    sample: EncodedSample | None,
) -> TraceEvent:
    fields: dict[str, object] = {}
    if plan.all_tokens:
        fields |= all_fields(answer.tokens, pair.token_space, plan.all_tokens)
    if sample is not None:
        coded = sample.sample.tokens
        kept = decode_tokens(coded, pair.token_space).positions
        fields |= coded_fields(coded, tuple(kept.tolist()))
        fields |= {
            "sample_id": sample.id.hex(),
            "sample_bytes": len(sample.body),
            "audit": sample.sample.audit,
            "p_value": 1.0 - sample.sample.priority,
            "scores": dict(sample.sample.scores),
        }
    else:
        fields["scores"] = dict(answer.scores)
    truth = question.truth
    return TraceEvent(
        kind=EventKind.ANSWER,
        wall_unix_s=clock.now_s(),
        monotonic_s=clock.monotonic_s(),
        device=plan.device_id,
        segment=segment,
        domain=question.domain or segment,
        question=question.text,
        answer=answer.text,
        reference=truth,
        correct=None if truth is None else is_correct(answer.text, truth),
        uncertainty=uncertainty(answer),
        sent=sample is not None,
        adapter_version=answer.version,
        **fields,  # type: ignore[arg-type]
    )
