"""How long a demo is for the pair it shows: a larger model answers and learns more slowly."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What fits a demo on two cores.

    `questions` of a drifted segment, `tests` held-out questions of each domain, `step_questions`
    of one step: device and cloud take turns, the cloud makes a round between two steps. `cloud`:
    settings of the cloud beside its defaults.
    """

    questions: int = 1200
    tests: int = 500
    step_questions: int = 600
    cloud: dict[str, object] = field(default_factory=dict)


PACES: dict[str, Pace] = {
    "tiny": Pace(),
    "boards": Pace(
        questions=900,
        tests=400,
        step_questions=450,
        # One square of 64 decides: the question's words look at it, no other scorer sees it.
        cloud={"sampling.token_scorer": "question_attention"},
    ),
    "smol": Pace(questions=900, tests=240, step_questions=450),
}
"""Pair name -> pace; any other pair goes at that of `tiny`."""


def pace_of(pair: str) -> Pace:
    """The pace of the pair of that name."""
    return PACES.get(pair, PACES["tiny"])
