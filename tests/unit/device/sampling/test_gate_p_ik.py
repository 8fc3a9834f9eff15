"""The gate on P(IK): judged by the head beside the answer's own version, never by another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from driftline_device.runtime.runtime import Question
from driftline_device.sampling.decision import Outcome
from driftline_device.sampling.gate import Gate
from driftline_device.sampling.sampler import Sampler
from driftline_shared.errors import PairError
from driftline_shared.tokens import SamplingPolicy
from tests.fakes.clock import FakeClock
from tests.fakes.runtime import FakeRuntime, calibration, ik_head, picture, token_space

POLICY = SamplingPolicy(
    gate_score="p_ik", max_sample_share=1.0, audit_rate=0.0, token_scorer="magnitude"
)


def sampler(known: Mapping[str, NDArray[np.float64]] | None = None) -> Sampler:
    with_head = {**calibration(), "p_ik": ik_head().calibration}
    return Sampler(
        space=token_space(),
        calibration=known or with_head,
        policy=POLICY,
        rng=np.random.default_rng(0),
        new_id=lambda: bytes(16),
        clock=FakeClock(),
    )


def test_a_pair_without_a_head_says_what_to_do() -> None:
    with pytest.raises(PairError, match="fit-p-ik"):
        Gate(calibration(), kind="p_ik", quantile=0.9)


def test_what_the_head_calls_unknown_is_sent_with_its_score() -> None:
    runtime, chooser = FakeRuntime(ik_head=ik_head()), sampler()
    easy, hard = runtime.answer(
        [Question(image=picture(0, hard=h), text="what?") for h in (False, True)]
    )
    assert easy.p_ik is not None
    assert hard.p_ik is not None
    assert chooser.consider("what?", easy, runtime) is None
    assert chooser.last.outcome is Outcome.CONFIDENT
    sent = chooser.consider("what?", hard, runtime)
    assert sent is not None
    assert sent.sample.scores["p_ik"] == pytest.approx(hard.p_ik.score)
    assert sent.sample.priority == pytest.approx(1.0 - hard.p_ik.p_value)


def test_another_gate_score_sends_no_p_ik() -> None:
    runtime, chooser = FakeRuntime(ik_head=ik_head()), sampler()
    chooser.set_policy(replace(POLICY, gate_score="entropy"))
    (hard,) = runtime.answer([Question(image=picture(0, hard=True), text="what?")])
    sent = chooser.consider("what?", hard, runtime)
    assert sent is not None
    assert set(sent.sample.scores) == {"entropy", "margin"}


def test_the_head_of_the_answer_judges_and_not_the_pairs() -> None:
    chooser = sampler()
    strict = FakeRuntime(ik_head=ik_head(5, hard=0.0))
    (hard,) = strict.answer([Question(image=picture(0, hard=True), text="what?")])
    assert chooser.consider("what?", hard, strict) is None
    assert chooser.last.uncertainty is not None
    assert hard.p_ik is not None
    assert hard.p_ik.version == 5
    assert chooser.last.uncertainty.p_value == hard.p_ik.p_value


def test_an_answer_that_no_head_judged_is_not_sent() -> None:
    runtime, chooser = FakeRuntime(), sampler()
    (hard,) = runtime.answer([Question(image=picture(0, hard=True), text="what?")])
    assert chooser.consider("what?", hard, runtime) is None
    assert chooser.last.outcome is Outcome.INVALID
