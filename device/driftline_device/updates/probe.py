"""The self-check of a staged version: run it beside the version in force, then decide.

A version passes when
  * every weight and every score is finite,
  * median(ms per generated token) <= ratio * median(the same of the version in force) + slack,
  * its agreement with the expected answers of the self-check set is not below that of the version
    in force by more than the tolerance.
Both versions answer the same questions in alternation, so that a busy machine slows both. Where by
the first questions too many answers were lost, the rest of the set is asked before that counts: of
64 questions, four are lost by luck once in 25 times at a true loss of 2 %.
`judge` is a function of two measurements; `run_probe` makes them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from driftline_device.runtime.runtime import Answer, Question, Session
from driftline_shared.errors import Reason
from driftline_shared.exact_match import is_correct
from driftline_shared.pair.pair import ProbeItem
from driftline_shared.program.section import Section, setting
from driftline_shared.update import Adapter


class ProbeLimits(Section):
    """How far a new version may be from the one in force."""

    latency_ratio: float = setting(2.0, "a new version may take this times as long per token", ge=0)
    # So that a busy machine does not fail a tiny model.
    latency_slack_ms: float = setting(20.0, "plus this, per token", ge=0)
    agreement_tolerance: float = setting(0.05, "it may lose this share of the self-check set", ge=0)
    num_timed: int = setting(8, "questions asked one by one, for their time", ge=0)
    batch_size: int = setting(8, "of the others", ge=1)
    max_questions: int = setting(64, "of the self-check set that are asked", ge=0)
    max_in_doubt: int = setting(
        256, "of the set that are asked where the first speak against a new version", ge=0
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One version on the self-check set: latencies in ms per generated token."""

    finite: bool
    latencies_ms: tuple[float, ...]
    num_agree: int
    num_asked: int

    @property
    def agreement(self) -> float:
        """Share of expected answers given, 0..1."""
        return self.num_agree / self.num_asked if self.num_asked else 1.0

    @property
    def latency_ms(self) -> float:
        """Median per generated token; 0 if nothing was timed."""
        return statistics.median(self.latencies_ms) if self.latencies_ms else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """`reason` is None when the version passed; `detail` names the numbers that decided."""

    reason: Reason | None
    detail: str
    numbers: dict[str, float]


def judge(active: Measured, candidate: Measured, limits: ProbeLimits) -> Verdict:
    """Whether `candidate` may replace `active`."""
    numbers = {
        "probe_agreement_before": active.agreement,
        "probe_agreement": candidate.agreement,
        "probe_latency_before_ms": active.latency_ms,
        "probe_latency_ms": candidate.latency_ms,
    }
    if not candidate.finite:
        return Verdict(
            reason=Reason.PROBE_NOT_FINITE,
            detail="a weight or score is not finite",
            numbers=numbers,
        )
    slowest = limits.latency_ratio * active.latency_ms + limits.latency_slack_ms
    if candidate.latency_ms > slowest:
        return Verdict(
            reason=Reason.PROBE_TOO_SLOW,
            detail=f"{candidate.latency_ms:.1f} ms per token, at most {slowest:.1f} allowed",
            numbers=numbers,
        )
    if _loses(active, candidate, limits):
        least = active.agreement - limits.agreement_tolerance
        return Verdict(
            reason=Reason.PROBE_DISAGREES,
            detail=f"agrees on {candidate.agreement:.3f} of the self-check set, {least:.3f} needed",
            numbers=numbers,
        )
    return Verdict(reason=None, detail="", numbers=numbers)


def is_finite(adapter: Adapter) -> bool:
    """Whether every weight is a number."""
    return all(bool(np.isfinite(array).all()) for array in adapter.values())


def run_probe(
    active: Session, candidate: Session, questions: Sequence[ProbeItem], *, limits: ProbeLimits
) -> tuple[Measured, Measured]:
    """Measure both versions on the self-check set, in small calls between which others answer.

    `max_questions` of it; where the new one agrees with too few, up to `max_in_doubt`.
    """
    chosen = list(questions)[: limits.max_questions]
    measuring = [_Measuring(active), _Measuring(candidate)]
    timed = chosen[: limits.num_timed]
    for each in timed[:1]:
        # The first call pays for caches and lazy set-up: not counted.
        for one in measuring:
            one.warm_up(each)
    for index, each in enumerate(timed):
        # Take turns at going first, so that neither profits from the other's warm caches.
        for one in measuring if index % 2 == 0 else measuring[::-1]:
            one.ask([each], timed=True)
    further = list(questions)[limits.max_questions : limits.max_in_doubt]
    for rest in (chosen[limits.num_timed :], further):
        for start in range(0, len(rest), limits.batch_size):
            for one in measuring:
                one.ask(rest[start : start + limits.batch_size])
        before, after = (one.measured() for one in measuring)
        if not after.finite or not _loses(before, after, limits):
            break
    return before, after


def _loses(active: Measured, candidate: Measured, limits: ProbeLimits) -> bool:
    """Whether `candidate` lost more of the expected answers than it may."""
    # Shares are ratios of small whole numbers: allow for their rounding, not for one answer more.
    return candidate.agreement < active.agreement - limits.agreement_tolerance - 1e-9


class _Measuring:
    """Collects what one session answers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._finite = True
        self._latencies_ms: list[float] = []
        self._num_agree = 0
        self._num_asked = 0

    def warm_up(self, row: ProbeItem) -> None:
        self._session.answer([Question(image=row.image, text=row.question)])

    def ask(self, rows: Sequence[ProbeItem], *, timed: bool = False) -> None:
        answers = self._session.answer(
            [Question(image=row.image, text=row.question) for row in rows]
        )
        if timed:
            num_steps = max(1, sum(answer.num_steps for answer in answers))
            self._latencies_ms.append(answers[0].model_s * 1e3 / num_steps)
        for answer, row in zip(answers, rows, strict=True):
            self._finite = self._finite and has_finite_scores(answer)
            self._num_agree += is_correct(answer.text, row.answer)
            self._num_asked += 1

    def measured(self) -> Measured:
        return Measured(
            finite=self._finite,
            latencies_ms=tuple(self._latencies_ms),
            num_agree=self._num_agree,
            num_asked=self._num_asked,
        )


def has_finite_scores(answer: Answer) -> bool:
    """Whether every uncertainty of `answer` is a number."""
    return all(math.isfinite(score) for score in answer.scores.values())
