"""The sampler ties UTS together: gate, budget, token scores, selection, coding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Answer, Session
from driftline_device.sampling.budget import Budget
from driftline_device.sampling.choice import TokenChoice
from driftline_device.sampling.decision import Decision, Outcome
from driftline_device.sampling.escalation import EscalationGate
from driftline_device.sampling.gate import Gate, Uncertainty, ood_score
from driftline_device.sampling.noise import noisy
from driftline_device.sampling.repeats import SentLately, Sketch
from driftline_device.sampling.scorers import check_scorer, score_tokens
from driftline_device.sampling.selector import Coded, select
from driftline_shared.bounds import check_policy
from driftline_shared.codec.regions import RegionEncoder, RegionSettings
from driftline_shared.codec.tokens import check_codec, codec_for, encode_tokens
from driftline_shared.errors import SampleError
from driftline_shared.host.clock import Clock
from driftline_shared.p_ik.head import P_IK
from driftline_shared.tokens import (
    MAX_SAMPLE_BYTES,
    MAX_TEXT_CHARS,
    Sample,
    SamplingPolicy,
    TokenSpace,
    VisualTokens,
)
from driftline_shared.wire import EncodedSample

PASSES = 4
"""Stochastic passes K of mutual_information and of the token scorers."""

BATCH_BYTES = 8
"""What a batch adds to each sample at most: its tag and length."""


@dataclass(kw_only=True, slots=True)
class SamplerCounts:
    """What became of the answers considered, since the sampler was made.

    `uncertain`: over the gate. `audit`: confident, picked all the same. `held_back`: uncertain,
    yet below the bar that max_sample_share sets. `repeat`: either, but the same was sent lately.
    `over_budget`: worth sending, but a limit was reached. `invalid`: text or tokens that no cloud
    would take. `sent`: given back as samples. `with_regions`: those of them that carry parts of the
    image. `taught`: sent because the owner said what is right. `escalated`: those of the sent that
    ask for the teacher's answer.
    """

    seen: int = 0
    uncertain: int = 0
    audit: int = 0
    held_back: int = 0
    repeat: int = 0
    over_budget: int = 0
    invalid: int = 0
    sent: int = 0
    with_regions: int = 0
    taught: int = 0
    escalated: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagePermission:
    """What the device's owner lets leave, and how it is made; the policy must ask for it, too.

    `canvas`: (height, width) that the pair brings images to; None: their own size.
    """

    may_leave: bool = False
    regions: RegionSettings = field(default_factory=RegionSettings)
    canvas: tuple[int, int] | None = None


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
        images: ImagePermission | None = None,
        escalation: EscalationGate | None = None,
        token_noise: float = 0.0,
        state: Mapping[str, object] | None = None,
    ) -> None:
        """`calibration`: the pair's sorted source scores by kind. `images`: none may leave without.
        `escalation`: which samples ask for the teacher's answer; None: none.
        `token_noise`: see `noise`. `state`: as `state()` gave it.

        Raises ConfigError, LinkError or PairError for a policy that cannot be obeyed, DataError
        for a bad state.
        """
        self._space = space
        self._calibration = calibration
        self._rng = rng
        self._new_id = new_id
        self._clock = clock
        self._passes = passes
        self._images = images or ImagePermission()
        self._escalation = escalation
        self._token_noise = token_noise
        self._noise_rng = rng.spawn(1)[0]  # so that noise shifts no other draw
        self.counts = SamplerCounts()
        self.last_refusal = ""
        """Why the last sample that counts as invalid could not be coded."""
        self.last = Decision(outcome=Outcome.CONFIDENT)
        """What became of the answer considered last."""
        self._sent_lately = SentLately()
        self._gate = self._check(policy)
        self._budget = Budget.of(policy, clock, state)
        self._policy = policy
        if state is not None and state.get("gate_score") != policy.gate_score:
            self._budget.share.forget_scores()

    @property
    def policy(self) -> SamplingPolicy:
        """The policy in force; `set_policy` changes it."""
        return self._policy

    @property
    def images_allowed(self) -> bool:
        """Whether the owner lets images leave."""
        return self._images.may_leave

    @property
    def images_leave(self) -> bool:
        """Whether samples carry regions: the owner allows it and the policy asks for it."""
        return self._images.may_leave and self._policy.images_may_leave

    @property
    def images_refused(self) -> bool:
        """Whether the policy asks for images that the owner does not let leave."""
        return self._policy.images_may_leave and not self._images.may_leave

    def set_policy(self, policy: SamplingPolicy) -> None:
        """Obey `policy` from the next answer on; budgets spent stay spent.

        Raises as making one does, and keeps the old policy, if it cannot be obeyed.
        """
        gate = self._check(policy)
        budget = Budget.of(policy, self._clock, self._budget.state())
        if policy.gate_score != self._policy.gate_score:
            budget.share.forget_scores()
            if self._escalation is not None:
                self._escalation.forget_scores()
        if policy != self._policy:
            # What was sent under another policy may lack tokens or regions that this one asks for.
            self._sent_lately.forget()
        self._gate, self._budget, self._policy = gate, budget, policy

    def state(self) -> dict[str, object]:
        """Plain JSON values: what a restart must not forget."""
        return {**self._budget.state(), "gate_score": self._policy.gate_score}

    def statistics(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self.counts)

    def consider(
        self,
        question: str,
        answer: Answer,
        runtime: Session,
        image: NDArray[np.uint8] | None = None,
    ) -> EncodedSample | None:
        """The sample to send for this answer, or None; `runtime` is asked for passes if needed.

        `image`: (H, W, 3) uint8 RGB, the one asked about; read only where images may leave.
        """
        self.counts.seen += 1
        # Both draws happen for every answer, so that one decision does not shift the next ones.
        seed = int(self._rng.integers(1 << 31))
        lot = float(self._rng.random())
        if not _sendable(question, answer):
            self.counts.invalid += 1
            self._decided(Outcome.INVALID)
            return None
        uncertainty = self._judge(question, answer, runtime, seed)
        if not np.isfinite(uncertainty.score):
            self.counts.invalid += 1
            self._decided(Outcome.INVALID, uncertainty)
            return None
        asks = self._escalation is not None and self._escalation.see(uncertainty)
        audit = not uncertainty.uncertain and lot < self._policy.audit_rate
        self.counts.uncertain += uncertainty.uncertain
        self.counts.audit += audit
        sketch = self._sketch(question, answer) if audit or uncertainty.uncertain else None
        if sketch is not None and self._was_sent(sketch):
            self._budget.pass_over()
            self.counts.repeat += 1
            self._decided(Outcome.REPEAT, uncertainty, audit)
            return None
        worth = self._budget.see(uncertainty.score)
        if not (audit or uncertainty.uncertain):
            self._decided(Outcome.CONFIDENT, uncertainty)
            return None
        if not (audit or worth):
            self.counts.held_back += 1
            self._decided(Outcome.HELD_BACK, uncertainty)
            return None
        try:
            sample = self._sample(question, answer, runtime, uncertainty, audit, image, asks)
            fits = sample is not None and self._budget.spend(len(sample.body) + BATCH_BYTES)
        except SampleError as error:
            self.counts.invalid += 1
            self.last_refusal = str(error)
            self._decided(Outcome.INVALID, uncertainty, audit)
            return None
        if sample is None or not fits:
            self.counts.over_budget += 1
            self._decided(Outcome.OVER_BUDGET, uncertainty, audit)
            return None
        self._decided(Outcome.SENT, uncertainty, audit)
        self.counts.sent += 1
        self.counts.with_regions += sample.sample.regions is not None
        if sample.sample.wants_answer and self._escalation is not None:
            self._escalation.spend()
            self.counts.escalated += 1
        if sketch is not None:
            self._sent_lately.add(sketch, now_s=self._clock.now_s())
        return sample

    def teach(
        self, question: str, answer: Answer, runtime: Session, *, owner_answer: str
    ) -> EncodedSample | None:
        """The sample of an answer about which the owner said what is right, whatever the gate says;
        None where the day's bytes are spent. No image leaves with it, and what is drawn for it
        shifts no other sample.

        Raises SampleError for one that no cloud would take.
        """
        if not _sendable(question, answer):
            raise SampleError("its text or tokens are none that a cloud takes")
        sample_id = self._new_id()
        coded = self._coded(question, answer, runtime, None, np.random.default_rng([*sample_id]))
        if coded is None:
            raise SampleError("not even one of its tokens fits sample_bytes")
        sample = EncodedSample.of(
            Sample(
                id=sample_id,
                question=question,
                answer=answer.text,
                tokens=coded.tokens,
                scores=_finite(answer.scores),
                priority=1.0,
                created_unix_s=int(self._clock.now_s()),
                adapter_version=answer.version,
                owner_answer=owner_answer,
            )
        )
        if not self._budget.spend_asked(len(sample.body) + BATCH_BYTES):
            return None
        self.counts.taught += 1
        return sample

    def not_kept(self) -> None:
        """The sample given back just now was lost: what repeats it may be sent."""
        if self._policy.repeat_distance > 0.0:
            self._sent_lately.drop_last()

    def _sketch(self, question: str, answer: Answer) -> Sketch | None:
        """None where repeats are sent like others, and for tokens that coding will refuse."""
        if self._policy.repeat_distance <= 0.0 or not Sketch.suits(answer.tokens, self._space):
            return None
        return Sketch.of(question, answer.tokens, self._space)

    def _was_sent(self, sketch: Sketch) -> bool:
        limit, now_s = self._policy.repeat_distance, self._clock.now_s()
        return self._sent_lately.has(sketch, nearer_than=limit, now_s=now_s)

    def _decided(
        self, outcome: Outcome, uncertainty: Uncertainty | None = None, audit: bool = False
    ) -> None:
        self.last = Decision(outcome=outcome, uncertainty=uncertainty, audit=audit)

    def _check(self, policy: SamplingPolicy) -> Gate:
        check_policy(policy)
        check_scorer(policy.token_scorer)
        check_codec(policy.token_codec, self._space)
        return Gate(self._calibration, kind=policy.gate_score, quantile=policy.gate_quantile)

    def _judge(self, question: str, answer: Answer, runtime: Session, seed: int) -> Uncertainty:
        if self._gate.kind == P_IK:
            return self._gate.judge_known(answer.p_ik)
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
        self,
        question: str,
        answer: Answer,
        runtime: Session,
        uncertainty: Uncertainty,
        audit: bool,
        image: NDArray[np.uint8] | None,
        asks: bool,
    ) -> EncodedSample | None:
        """The coded sample; None if a limit is reached. Asked first, since scoring tokens costs."""
        if not self._budget.admits():
            return None
        coded = self._coded(question, answer, runtime, image, self._rng)
        if coded is None:
            return None
        return EncodedSample.of(
            Sample(
                id=self._new_id(),
                question=question,
                answer=answer.text,
                tokens=coded.tokens,
                regions=coded.regions,
                scores=_finite({**answer.scores, uncertainty.kind: uncertainty.score}),
                priority=1.0 - uncertainty.p_value,
                created_unix_s=int(self._clock.now_s()),
                adapter_version=answer.version,
                audit=audit,
                wants_answer=asks and not audit,
            )
        )

    def _coded(
        self,
        question: str,
        answer: Answer,
        runtime: Session,
        image: NDArray[np.uint8] | None,
        rng: np.random.Generator,
    ) -> Coded | None:
        """Tokens, with regions where images leave; None where not even one token fits.

        Regions come out of the same bytes, and so cost tokens: at most half of them, else the
        tokens go alone, since the student learns from nothing else.
        """
        policy, tokens = self._policy, answer.tokens
        scores = score_tokens(
            self._policy.token_scorer, question, answer, runtime, passes=self._passes, rng=rng
        )
        choice = TokenChoice.of(policy)
        pick = partial(
            select,
            noisy(tokens, self._space, scale=self._token_noise, rng=self._noise_rng),
            scores,
            choice=choice,
            lots=rng.random(tokens.num_tokens) if choice.draws else None,
            max_bytes=min(policy.sample_bytes or MAX_SAMPLE_BYTES, MAX_SAMPLE_BYTES),
        )

        def code(kept: VisualTokens) -> Coded:
            codec = codec_for(policy.token_codec, self._space)
            return Coded(tokens=encode_tokens(kept, self._space, codec))

        alone = pick(code)
        if alone is None or image is None or not self.images_leave:
            return alone
        images = self._images
        try:
            encoder = RegionEncoder(image, tokens.grid, images.regions, canvas=images.canvas)
            both = pick(
                lambda kept: replace(code(kept), regions=encoder.encode(kept.positions)),
                least=-(-alone.tokens.num_tokens // 2),
                # Pictures hardly shrink with one cell less, and each try costs milliseconds.
                step=max(1, alone.tokens.num_tokens // 16),
            )
        except SampleError as error:
            self.last_refusal = str(error)
            return alone
        return both or alone


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
