"""How long a demo is for the pair it shows: a larger model answers and learns more slowly."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """What fits a demo on two cores.

    `questions` of a drifted segment, `tests` held-out questions of each domain, `settle_every`
    questions between two pauses in which device and cloud catch up (a demo streams a day in
    minutes; without pauses it would be over before the first round is), `settle_s` the longest
    pause. `cloud`: settings of the cloud beside its defaults.
    """

    questions: int = 1200
    tests: int = 500
    settle_every: int = 600
    settle_s: float = 120.0
    cloud: dict[str, object] = field(default_factory=dict)


PACES: dict[str, Pace] = {
    "tiny": Pace(),
    "smol": Pace(
        questions=900,
        tests=240,
        settle_every=450,
        settle_s=600.0,
        cloud={
            # Two rounds: one before the middle of the drifted segment, one at its end.
            "rounds.trigger.round_samples": 120,
            "distil.max_steps": 60,
            "distil.extra_questions": 5,
            # At the rates that suit `tiny` it forgets its source and the gate says no.
            "distil.learning_rate": 1.5e-3,
            "distil.a5": 6.0,
            "distil.num_source_rows": 640,
        },
    ),
}
"""Pair name -> pace; any other pair goes at that of `tiny`."""


def pace_of(pair: str) -> Pace:
    """The pace of the pair of that name."""
    return PACES.get(pair, PACES["tiny"])
