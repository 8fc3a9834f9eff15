"""Whether the cloud takes one sample: a pure decision with a stable reason and a sentence.

Order of the checks: what could never be taken (refused: the device drops it), then what the
store has already (duplicate: the device drops it), then what cannot be taken now (retry: the
device keeps it). One sample never decides over another one of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from driftline_shared.codec.regions import compose
from driftline_shared.codec.tokens import check_decodes, check_tokens
from driftline_shared.errors import DataError, DriftlineError, Reason, SampleError, explain
from driftline_shared.pair.text_room import TextRoom
from driftline_shared.program.section import Section, setting
from driftline_shared.status import SampleAck, SampleVerdict
from driftline_shared.tokens import CodedTokens, Sample, TokenSpace


class AdmissionLimits(Section):
    """What a sample may ask of the models, in the unit that costs them."""

    text_tokens: int = setting(
        1_024,
        "of a question or an answer, where the models' contexts have room for more",
        ge=1,
    )


class Quota(Section):
    """What one device may send in a day (UTC), and how much may wait; 0 means no limit."""

    day_samples: int = setting(50_000, "of one device in a UTC day; 0: no limit")
    day_bytes: int = setting(1 << 30, "of one device in a UTC day; 0: no limit")
    waiting_samples: int = setting(
        200_000,
        "in all; past it a device waits that has its even share there already; 0: no limit",
    )
    device_waiting_samples: int = setting(
        20_000, "of one device; past it that device has to wait; 0: no limit"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a device has sent today, and what waits on its line: in all, of its own, and of how many
    other devices.
    """

    day_samples: int = 0
    day_bytes: int = 0
    waiting_samples: int = 0
    own_waiting_samples: int = 0
    num_others: int = 0

    def plus(self, num_bytes: int, num_samples: int = 1) -> Usage:
        """The usage after more samples, of `num_bytes` together."""
        return replace(
            self,
            day_samples=self.day_samples + num_samples,
            day_bytes=self.day_bytes + num_bytes,
            waiting_samples=self.waiting_samples + num_samples,
            own_waiting_samples=self.own_waiting_samples + num_samples,
        )


def check_token_space(stated: str, space: TokenSpace) -> None:
    """Raise `SampleError` unless the batch speaks of the token space this cloud reads."""
    if stated != space.digest:
        raise SampleError(
            f"tokens of space {stated[:12] or '(none)'}, this cloud reads {space.digest[:12]}",
            reason=Reason.TOKEN_SPACE_UNKNOWN,
        )


def check_grid(tokens: CodedTokens, space: TokenSpace) -> None:
    """Raise `SampleError` unless the models of the pair have a place for each cell of the grid.

    Nothing is decoded. A clip may have fewer frames than the pair's, never more.
    """
    grid, own = tokens.grid, space.grid
    if (grid.rows, grid.cols) != (own.rows, own.cols) or not 1 <= grid.frames <= own.frames:
        raise SampleError(
            f"a grid of {grid.frames} x {grid.rows} x {grid.cols}, the pair has places for "
            f"{own.frames} x {own.rows} x {own.cols}",
            reason=Reason.SAMPLE_SHAPE,
        )


def check_texts(sample: Sample, rooms: Sequence[TextRoom], limits: AdmissionLimits) -> None:
    """Raise `SampleError` for a question or an answer of more tokens than a model has room for."""
    for name, text in (
        ("question", sample.question),
        ("answer", sample.answer),
        ("owner_answer", sample.owner_answer),
    ):
        for room in rooms if text else ():
            try:
                room.check(text, limits.text_tokens)
            except DataError as error:
                raise SampleError(f"{name} {error}", reason=Reason.SAMPLE_TEXT_INVALID) from error


def check_content(sample: Sample, space: TokenSpace) -> None:
    """Raise `SampleError` unless the tokens of `sample` are whole tokens of `space`, and its
    regions, if it has any, a picture. The tokens' values are left for the teacher to decode.
    """
    check_grid(sample.tokens, space)
    if sample.regions is None:
        check_decodes(sample.tokens, space)
    else:
        compose(sample.regions, check_tokens(sample.tokens, space), sample.tokens.grid)


def check_quota(usage: Usage, num_bytes: int, quota: Quota) -> None:
    """Raise `SampleError` if one more sample of `num_bytes` would pass a limit."""
    if 0 < quota.device_waiting_samples <= usage.own_waiting_samples:
        raise SampleError(
            f"{usage.own_waiting_samples} samples of this device wait already",
            reason=Reason.STORE_BUSY,
        )
    # What waits may reach twice the bound, where those who came late fill their shares.
    share = quota.waiting_samples // (usage.num_others + 1)
    if 0 < quota.waiting_samples <= usage.waiting_samples and usage.own_waiting_samples >= share:
        raise SampleError(
            f"{usage.waiting_samples} samples wait already, {usage.own_waiting_samples} of them of "
            "this device: rounds are behind",
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
