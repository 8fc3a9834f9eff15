"""The values of an escalation: what was asked, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """An answer about which the teacher was asked. `sample`: hex id of what was sent, `num_bytes`
    of it; `answer_id`: of the answer as it was given here.
    """

    sample: str
    answer_id: str
    unix_s: float
    feed: str
    source: str
    place: str
    question: str
    answer: str
    version: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Counts of some time. `asked`, and `num_bytes` of those samples; `corrected`: answers that
    came, of which `agreed` with the device's and `in_time` for a request that waited; `unanswered`:
    the cloud said that none will come, or none came in `KEEP_S`.
    """

    asked: int = 0
    num_bytes: int = 0
    corrected: int = 0
    agreed: int = 0
    in_time: int = 0
    unanswered: int = 0
