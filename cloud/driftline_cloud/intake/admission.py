"""Whether the cloud takes one sample: a pure decision with a stable reason and a sentence.

Order of the checks: what could never be taken (refused: the device drops it), then what the
store has already (duplicate: the device drops it), then what cannot be taken now (retry: the
device keeps it). One sample never decides over another one of its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from driftline_shared.codec.regions import compose
from driftline_shared.codec.tokens import check_tokens
from driftline_shared.errors import DriftlineError, Reason, SampleError, explain
from driftline_shared.program.section import Section, setting
from driftline_shared.status import SampleAck, SampleVerdict
from driftline_shared.tokens import Sample, TokenSpace


class Quota(Section):
    """What one device may send in a day (UTC), and how much may wait in all; 0 means no limit."""

    day_samples: int = setting(50_000, "of one device in a UTC day; 0: no limit")
    day_bytes: int = setting(1 << 30, "of one device in a UTC day; 0: no limit")
    waiting_samples: int = setting(200_000, "in all; past it devices have to wait; 0: no limit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a device has sent today, and what waits on its line."""

    day_samples: int = 0
    day_bytes: int = 0
    waiting_samples: int = 0

    def plus(self, num_bytes: int) -> Usage:
        """The usage after one more sample of `num_bytes`."""
        return Usage(
            day_samples=self.day_samples + 1,
            day_bytes=self.day_bytes + num_bytes,
            waiting_samples=self.waiting_samples + 1,
        )


def check_token_space(stated: str, space: TokenSpace) -> None:
    """Raise `SampleError` unless the batch speaks of the token space this cloud reads."""
    if stated != space.digest:
        raise SampleError(
            f"tokens of space {stated[:12] or '(none)'}, this cloud reads {space.digest[:12]}",
            reason=Reason.TOKEN_SPACE_UNKNOWN,
        )


def check_content(sample: Sample, space: TokenSpace) -> None:
    """Raise `SampleError` unless the tokens of `sample` are whole tokens of `space`, and its
    regions, if it has any, a picture. The tokens' values are left for the teacher to decode.
    """
    positions = check_tokens(sample.tokens, space)
    if sample.regions is not None:
        compose(sample.regions, positions, sample.tokens.grid)


def check_quota(usage: Usage, num_bytes: int, quota: Quota) -> None:
    """Raise `SampleError` if one more sample of `num_bytes` would pass a limit."""
    if 0 < quota.waiting_samples <= usage.waiting_samples:
        raise SampleError(
            f"{usage.waiting_samples} samples wait already: rounds are behind",
            reason=Reason.STORE_BUSY,
        )
    if 0 < quota.day_samples <= usage.day_samples:
        raise SampleError(
            f"{usage.day_samples} samples today, {quota.day_samples} are allowed",
            reason=Reason.QUOTA_EXCEEDED,
        )
    if 0 < quota.day_bytes < usage.day_bytes + num_bytes:
        raise SampleError(
            f"{usage.day_bytes} + {num_bytes} bytes today, {quota.day_bytes} are allowed",
            reason=Reason.QUOTA_EXCEEDED,
        )


RETRY_REASONS = frozenset({Reason.QUOTA_EXCEEDED, Reason.STORE_BUSY, Reason.INTERNAL})
"""Reasons that time may cure: the device keeps the sample."""


def stored(sample_id: bytes) -> SampleAck:
    """The sample is in the store."""
    return SampleAck(id=sample_id, verdict=SampleVerdict.STORED)


def duplicate(sample_id: bytes) -> SampleAck:
    """The sample was in the store already."""
    return SampleAck(id=sample_id, verdict=SampleVerdict.DUPLICATE)


def turned_down(sample_id: bytes, error: DriftlineError) -> SampleAck:
    """The sample is not in the store: never will be, or not now."""
    verdict = SampleVerdict.RETRY if error.reason in RETRY_REASONS else SampleVerdict.REFUSED
    detail = f"{error}. {explain(error.reason)}"
    return SampleAck(id=sample_id, verdict=verdict, reason=str(error.reason), detail=detail)
