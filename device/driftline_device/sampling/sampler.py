"""The sampler ties UTS together: gate, budget, token scores, selection, coding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Answer, Runtime
from driftline_device.sampling.budget import Budget
from driftline_device.sampling.gate import Gate, Verdict
from driftline_device.sampling.ood import ood_score
from driftline_device.sampling.scorers import check_scorer, score_tokens
from driftline_device.sampling.selector import num_kept, select
from driftline_shared.clock import Clock
from driftline_shared.codec.tokens import TOKEN_CODECS, encode_tokens
from driftline_shared.errors import ConfigError, SampleError
from driftline_shared.tokens import (
    MAX_SAMPLE_BYTES,
    MAX_TEXT_CHARS,
    Sample,
    SamplingPolicy,
    TokenSpace,
)
from driftline_shared.wire import dump_sample

PASSES = 4
"""Stochastic passes K of mutual_information and of the token scorers."""

BATCH_BYTES = 8
"""What a batch adds to each sample at most: its tag and length."""


@dataclass(kw_only=True, slots=True)
class SamplerCounts:
    """What became of the answers considered, since the sampler was made.

    `uncertain`: over the gate. `audit`: confident, picked all the same. `held_back`: uncertain,
    yet below the bar that max_sample_share sets. `over_budget`: worth sending, but a limit was
    reached. `invalid`: text or tokens that no cloud would take. `sent`: given back as samples.
    """

    seen: int = 0
    uncertain: int = 0
    audit: int = 0
    held_back: int = 0
    over_budget: int = 0
    invalid: int = 0
    sent: int = 0


class Sampler:
    """Decides about one answer after the other; use from one thread.

    Everything it depends on is an argument: answers, policy, `rng`, `clock` and
    `new_id`.
    """

    def __init__(
        self,
        *,
        space: TokenSpace,
        calibration: Mapping[str, NDArray[np.float64]],
        policy: SamplingPolicy,
        rng: np.random.Generator,
        new_id: Callable[[], bytes],
        clock: Clock,
        passes: int = PASSES,
        state: Mapping[str, object] | None = None,
    ) -> None:
        """`calibration`: the pair's sorted source scores by kind. `state`: as `state()` gave it.

        Raises ConfigError or PairError for a policy that cannot be obeyed, DataError for a bad
        state.
        """
        self._space = space
        self._calibration = calibration
        self._rng = rng
        self._new_id = new_id
        self._clock = clock
        self._passes = passes
        self.counts = SamplerCounts()
        self.last_refusal = ""
        """Why the last sample that counts as invalid could not be coded."""
        self._gate = self._check(policy)
        self._budget = Budget.of(policy, clock, state)
        self._policy = policy
        if state is not None and state.get("gate_score") != policy.gate_score:
            self._budget.share.forget_scores()

    @property
    def policy(self) -> SamplingPolicy:
        """The policy in force; `set_policy` changes it."""
        return self._policy

    def set_policy(self, policy: SamplingPolicy) -> None:
        """Obey `policy` from the next answer on; budgets spent stay spent.

        Raises ConfigError or PairError, and keeps the old policy, if it cannot be obeyed.
        """
        gate = self._check(policy)
        budget = Budget.of(policy, self._clock, self._budget.state())
        if policy.gate_score != self._policy.gate_score:
            budget.share.forget_scores()
        self._gate, self._budget, self._policy = gate, budget, policy

    def state(self) -> dict[str, object]:
        """Plain JSON values: what a restart must not forget."""
        return {**self._budget.state(), "gate_score": self._policy.gate_score}

    def statistics(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self.counts)

    def consider(self, question: str, answer: Answer, runtime: Runtime) -> Sample | None:
        """The sample to send for this answer, or None; `runtime` is asked for passes if needed."""
        self.counts.seen += 1
        # Both draws happen for every answer, so that one decision does not shift the next ones.
        seed = int(self._rng.integers(1 << 31))
        lot = float(self._rng.random())
        if not _sendable(question, answer):
            self.counts.invalid += 1
            return None
        verdict = self._judge(question, answer, runtime, seed)
        if not np.isfinite(verdict.score):
            self.counts.invalid += 1
            return None
        worth = self._budget.see(verdict.score)
        audit = not verdict.uncertain and lot < self._policy.audit_rate
        self.counts.uncertain += verdict.uncertain
        self.counts.audit += audit
        if not (audit or verdict.uncertain):
            return None
        if not (audit or worth):
            self.counts.held_back += 1
            return None
        try:
            sample = self._sample(question, answer, runtime, verdict, audit)
            fits = sample is not None and self._budget.spend(sample_bytes(sample))
        except SampleError as error:
            self.counts.invalid += 1
            self.last_refusal = str(error)
            return None
        if not fits:
            self.counts.over_budget += 1
            return None
        self.counts.sent += 1
        return sample

    def _check(self, policy: SamplingPolicy) -> Gate:
        check_scorer(policy.token_scorer)
        num_kept(1, policy.token_share)
        if policy.token_codec not in TOKEN_CODECS:
            known = ", ".join(TOKEN_CODECS)
            raise ConfigError(f"token_codec is {policy.token_codec!r}; choose one of {known}")
        if policy.sample_bytes < 0:
            raise ConfigError("sample_bytes is 0 (no limit) or more")
        if not 0.0 <= policy.audit_rate <= 1.0:
            raise ConfigError(f"audit_rate is {policy.audit_rate}; it lies in 0..1")
        return Gate(self._calibration, kind=policy.gate_score, quantile=policy.gate_quantile)

    def _judge(self, question: str, answer: Answer, runtime: Runtime, seed: int) -> Verdict:
        return self._gate.judge(
            answer.scores,
            {
                "ood": lambda: ood_score(answer.tokens, self._space),
                "mutual_information": lambda: runtime.mutual_information(
                    question, answer, passes=self._passes, seed=seed
                ),
            },
        )

    def _sample(
        self, question: str, answer: Answer, runtime: Runtime, verdict: Verdict, audit: bool
    ) -> Sample | None:
        """The coded sample; None if a limit is reached. Asked first, since scoring tokens costs."""
        if not self._budget.admits():
            return None
        policy = self._policy
        scores = score_tokens(
            policy.token_scorer, question, answer, runtime, passes=self._passes, rng=self._rng
        )
        coded = select(
            answer.tokens,
            scores,
            lambda tokens: encode_tokens(tokens, self._space, policy.token_codec),
            share=policy.token_share,
            max_bytes=min(policy.sample_bytes or MAX_SAMPLE_BYTES, MAX_SAMPLE_BYTES),
        )
        if coded is None:
            return None
        return Sample(
            id=self._new_id(),
            question=question,
            answer=answer.text,
            tokens=coded,
            scores=_finite({**answer.scores, verdict.kind: verdict.score}),
            priority=1.0 - verdict.p_value,
            created_unix_s=int(self._clock.now_s()),
            adapter_version=answer.version,
            audit=audit,
        )


def sample_bytes(sample: Sample) -> int:
    """Bytes of a sample on the wire, envelope included."""
    return len(dump_sample(sample)) + BATCH_BYTES


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores the cloud takes: one broken kind must not cost the sample."""
    return {kind: score for kind, score in scores.items() if np.isfinite(score)}


def _sendable(question: str, answer: Answer) -> bool:
    """Whether the cloud would take it: bounded texts, finite tokens."""
    return (
        0 < len(question) <= MAX_TEXT_CHARS
        and len(answer.text) <= MAX_TEXT_CHARS
        and answer.tokens.num_tokens > 0
        and bool(np.isfinite(answer.tokens.values).all())
    )
