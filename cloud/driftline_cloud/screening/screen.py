"""What a round's samples look like to all rules together: which are set apart, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from driftline_cloud.screening import rules
from driftline_cloud.screening.seen import Seen
from driftline_cloud.screening.settings import ScreenSettings
from driftline_shared.errors import Reason

REASONS: Mapping[Reason, str] = {
    Reason.SAMPLE_OUTLIER: "outliers",
    Reason.SAMPLE_DISPUTED: "disputed",
    Reason.SAMPLE_COPY: "copies",
    Reason.SAMPLE_LONE_ANSWER: "lone_answers",
}
"""The rules' reasons, with the word under which each is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspect:
    """A sample to set apart."""

    sample_id: bytes
    reason: Reason
    detail: str


def screen(seen: Sequence[Seen], settings: ScreenSettings) -> list[Suspect]:
    """The suspects among the samples of a round, in the order of `seen`, each by its first rule.

    A rule does not see what an earlier one found: copies would make an answer common.
    """
    if not settings.enabled or len({one.device for one in seen}) < settings.least_devices:
        return []
    found: dict[bytes, tuple[Reason, str]] = {}
    for reason, limit, rule in (
        (Reason.SAMPLE_OUTLIER, settings.outlier_ratio, _outliers),
        (Reason.SAMPLE_DISPUTED, settings.dispute_confidence, _disputed),
        (Reason.SAMPLE_COPY, settings.copy_distance, _copies),
        (Reason.SAMPLE_LONE_ANSWER, settings.lone_error_rate, _lone_answers),
    ):
        if limit > 0:
            left = [one for one in seen if one.id not in found]
            found |= {one: (reason, why) for one, why in rule(left, limit).items()}
    return [
        Suspect(sample_id=one.id, reason=found[one.id][0], detail=found[one.id][1])
        for one in seen
        if one.id in found
    ]


def counted(suspects: Sequence[Suspect]) -> dict[str, float]:
    """How many there are, by the word of their reason; the words of all reasons are there."""
    numbers = dict.fromkeys(REASONS.values(), 0.0)
    for one in suspects:
        numbers[REASONS[one.reason]] += 1.0
    return numbers


def _outliers(seen: Sequence[Seen], limit: float) -> rules.Found:
    return rules.outliers(seen, ratio=limit)


def _disputed(seen: Sequence[Seen], limit: float) -> rules.Found:
    return rules.disputed(seen, confidence=limit)


def _copies(seen: Sequence[Seen], limit: float) -> rules.Found:
    return rules.copies(seen, distance=limit)


def _lone_answers(seen: Sequence[Seen], limit: float) -> rules.Found:
    return rules.lone_answers(seen, error_rate=limit)
