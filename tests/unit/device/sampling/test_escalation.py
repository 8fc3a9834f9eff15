"""Which answers also ask the teacher: beyond a quantile, and never more than the share."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftline_device.sampling.escalation import EscalationGate
from driftline_device.sampling.gate import Uncertainty


def _uncertainty(score: float, p_value: float = 0.01) -> Uncertainty:
    return Uncertainty(kind="entropy", score=score, p_value=p_value, uncertain=True)


def _run(gate: EscalationGate, scores: list[float], p_value: float = 0.01) -> list[bool]:
    found = []
    for score in scores:
        found.append(gate.see(_uncertainty(score, p_value)))
        if found[-1]:
            gate.spend()
    return found


@given(
    st.floats(0.0, 1.0),
    st.lists(st.sampled_from([0.1, 0.5, 0.9]) | st.floats(0.0, 1.0), max_size=300),
)
def test_never_more_than_the_share_whatever_comes(share: float, scores: list[float]) -> None:
    gate = EscalationGate(quantile=0.9, share=share)
    found = _run(gate, scores)
    for seen in range(1, len(found) + 1):
        assert sum(found[:seen]) <= share * seen
    assert gate.num_escalated == sum(found)


def test_the_most_uncertain_are_asked_about() -> None:
    gate = EscalationGate(quantile=0.9, share=0.2)
    scores = [0.9 if number % 5 == 0 else 0.3 for number in range(500)]
    found = _run(gate, scores)
    asked = [score for score, wants in zip(scores, found, strict=True) if wants]
    assert len(asked) > 80
    assert sum(score == 0.9 for score in asked) > 0.9 * len(asked)


def test_what_is_usual_for_the_source_is_not_asked_about() -> None:
    assert not any(_run(EscalationGate(quantile=0.9, share=1.0), [0.9] * 50, p_value=0.2))
    assert all(_run(EscalationGate(quantile=0.0, share=1.0), [0.1] * 50, p_value=1.0))


def test_of_samples_that_do_not_leave_none_is_counted() -> None:
    gate = EscalationGate(quantile=0.9, share=0.5)
    for _ in range(10):
        gate.see(_uncertainty(0.9))  # and not sampled: nobody spends
    assert gate.num_escalated == 0
    assert gate.see(_uncertainty(0.9))
