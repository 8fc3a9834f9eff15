"""One run: the student answers a stream, samples leave, rounds are made, every domain is tested.

Everything is a function of the plan, the baseline and the material: the same rows each time on one
kind of machine. There is no link and no waiting: a round is over before the next question.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from driftline_cloud.distill import passes
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_device.runtime.runtime import Answer
from driftline_device.sampling.sampler import BATCH_BYTES, Sampler
from driftline_lab.baselines.baseline import Baseline, Online, SampleFilter
from driftline_lab.experiments.captions import Captions, captions
from driftline_lab.experiments.line import MemoryLine, Outcome
from driftline_lab.experiments.material import Asked, Material
from driftline_lab.experiments.plan import Plan
from driftline_lab.experiments.result import ROUND, SEGMENT, START, Result, Row
from driftline_lab.experiments.twin import TwinSession, accuracy, ask, example
from driftline_lab.experiments.workers import KeptLabels
from driftline_lab.replay.cache.store import ResultStore
from driftline_lab.replay.clock import VirtualClock
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.exact_match import is_correct
from driftline_shared.models.adapters import slots
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.tokens import Sample
from driftline_shared.update import adapter_digest

QUESTION_S = 0.5
"""Virtual seconds between two questions."""
_START_UNIX_S = 1_700_000_000.0


def run(
    plan: Plan,
    baseline: Baseline,
    models: Models,
    material: Material,
    teacher: dict[str, float],
    store: ResultStore,
    progress: Progress = ignore,
    teacher_captions: Captions | None = None,
) -> Result:
    """The whole stream under `baseline`. `teacher`: its accuracy on each domain of the material;
    `teacher_captions`: what it writes there, for the result to have beside the student's.
    """
    settings = settings_of(plan, baseline)
    started = time.perf_counter()
    with passes.fixed_threads(settings.threads), torch.random.fork_rng(devices=[]):
        # Whatever ran before in this process has drawn numbers or none.
        torch.manual_seed(plan.seed)
        slots.write(models.student.model, models.initial)
        found = _Run(plan, baseline, models, material, settings, store)
        rows = found.all(progress)
        slots.write(models.student.model, models.initial)
    seconds = {**found.seconds, "all": time.perf_counter() - started}
    return Result(
        baseline=baseline.name,
        seed=plan.seed,
        teacher=teacher,
        rows=tuple(rows),
        seconds=seconds,
        teacher_captions=teacher_captions or {},
    )


def settings_of(plan: Plan, baseline: Baseline) -> DistilSettings:
    """The learner's settings under `baseline`."""
    return DistilSettings.from_mapping({**plan.distil.to_mapping(), **baseline.distil})


@dataclass(kw_only=True)
class _Counts:
    seen: int = 0
    sent: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    steps: int = 0


class _Run:
    """The state of a run."""

    def __init__(
        self,
        plan: Plan,
        baseline: Baseline,
        models: Models,
        material: Material,
        settings: DistilSettings,
        store: ResultStore,
    ) -> None:
        self._plan, self._baseline, self._models = plan, baseline, models
        self._material, self._settings = material, settings
        self._session = TwinSession(models, max_batch=plan.answer_batch)
        self._clock = VirtualClock(_START_UNIX_S)
        self._filter: SampleFilter | None = baseline.new_filter() if baseline.new_filter else None
        self._sampler = Sampler(
            space=models.pair.token_space,
            calibration=models.pair.gate,
            policy=baseline.policy(plan.policy),
            rng=np.random.default_rng([plan.seed, 11]),
            new_id=_ids(),
            clock=self._clock,
        )
        self._line = MemoryLine(
            plan=plan,
            pair=models.pair,
            baseline=baseline,
            workers=KeptLabels(models, baseline.learn, settings, store),
            settings=settings,
            origin=models.initial,
        )
        self._online: Online | None = None
        if baseline.online is not None:
            self._online = baseline.online(models.student, plan.seed)
        self._counts = _Counts()
        self._waiting: list[Sample] = []
        self._tested: tuple[bytes, dict[str, float]] | None = None
        self._captioned: tuple[str, Captions] | None = None
        self.seconds: dict[str, float] = {}

    def all(self, progress: Progress) -> list[Row]:
        """Rows from the start to the end of the last segment."""
        segments, size = self._material.segments, self._plan.answer_batch
        first = self._row(START, 0, segments[0][0].domain)
        rows = [replace(first, captions=self._captions(first.digest))]
        for number, segment in enumerate(segments):
            domain, right = segment[0].domain, 0
            for start in range(0, len(segment), size):
                asked = segment[start : start + size]
                right += self._answer(asked)
                while len(self._waiting) >= self._plan.round_samples:
                    outcome = self._round()
                    row = self._row(ROUND, number, domain)
                    rows.append(
                        replace(
                            row,
                            state=outcome.state,
                            reason=outcome.reason,
                            samples=outcome.num_samples,
                        )
                    )
                progress(self._counts.seen / self._material.num_questions)
            rows.append(replace(self._row(SEGMENT, number, domain), answered=right / len(segment)))
        rows[-1] = replace(rows[-1], captions=self._captions(rows[-1].digest))
        return rows

    def _answer(self, asked: Sequence[Asked]) -> int:
        """Answer, sample and, on the device, learn; how many were right."""
        pair, counts = self._models.pair, self._counts
        answers = ask(self._session, pair, asked)
        for row, answer in zip(asked, answers, strict=True):
            self._clock.sleep(QUESTION_S)
            counts.seen += 1
            if self._baseline.sends:
                self._sample(row.question, answer)
        if self._online is not None:
            with self._timed("learn"):
                self._online.learn(
                    [
                        example(row.values, row.question, answer.step_ids)
                        for row, answer in zip(asked, answers, strict=True)
                    ]
                )
            counts.steps = self._online.num_steps
        return sum(
            is_correct(answer.text, row.truth) for row, answer in zip(asked, answers, strict=True)
        )

    def _sample(self, question: str, answer: Answer) -> None:
        if self._filter is not None and not self._filter.admits(answer.scores["entropy"]):
            return
        encoded = self._sampler.consider(question, answer, self._session)
        if encoded is not None:
            self._waiting.append(encoded.sample)
            self._counts.sent += 1
            self._counts.bytes_up += len(encoded.body) + BATCH_BYTES

    def _round(self) -> Outcome:
        size = self._plan.round_samples
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        outcome = self._line.run_round(taken)
        slots.write(self._models.student.model, self._line.adapter)
        self._session.serve(self._line.version)
        self._counts.bytes_down += outcome.num_bytes
        self._counts.steps += outcome.num_steps
        for name, passed in outcome.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + passed
        return outcome

    def _row(self, kind: str, segment: int, domain: str) -> Row:
        counts = self._counts
        digest = adapter_digest(slots.read(self._models.student.model))
        return Row(
            kind=kind,
            segment=segment,
            domain=domain,
            round=self._line.num_rounds,
            seen=counts.seen,
            sent=counts.sent,
            bytes_up=counts.bytes_up,
            bytes_down=counts.bytes_down,
            steps=counts.steps,
            accuracy=self._accuracy(digest),
            digest=digest.hex(),
        )

    def _accuracy(self, digest: bytes) -> dict[str, float]:
        """On every domain, of the adapter in the model, whose digest is given."""
        if self._tested is None or self._tested[0] != digest:
            with self._timed("test"):
                found = accuracies(self._models.student, self._material, self._settings)
            self._tested = (digest, found)
        return self._tested[1]

    def _captions(self, digest: str) -> Captions:
        """Of the adapter in the model, whose digest is given."""
        if self._captioned is None or self._captioned[0] != digest:
            with self._timed("captions"):
                found = captions(
                    self._models.student, self._models.pair, self._material, self._settings
                )
            self._captioned = (digest, found)
        return self._captioned[1]

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def accuracies(
    model: MultimodalModel, material: Material, settings: DistilSettings
) -> dict[str, float]:
    """Share of right answers on each test set."""
    return {name: accuracy(model, rows, settings) for name, rows in material.tests.items()}


def _ids() -> Callable[[], bytes]:
    """Ids by number: a run has one device and is never resumed."""
    numbers = itertools.count(1)
    return lambda: next(numbers).to_bytes(16, "big")
