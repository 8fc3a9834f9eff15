"""Each fault of a sample has its own reason; the verdict says whether to send it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.intake import admission
from driftline_cloud.intake.admission import AdmissionLimits, Quota, Usage
from driftline_shared.errors import Reason, SampleError, explain
from driftline_shared.pair.pair import load_pair
from driftline_shared.pair.text_room import text_rooms
from driftline_shared.status import SampleVerdict
from driftline_shared.tokens import (
    MAX_SAMPLE_BYTES,
    Grid,
    RegionLayout,
    Sample,
    TokenSpace,
)
from tests.fakes.cloud import bare_pair, make_sample
from tests.fakes.pictures import draw_picture, spoil, with_regions


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> TokenSpace:
    return bare_pair(Path(tmp_path_factory.mktemp("pair"))).token_space


def _tokens(sample: Sample, **changes: object) -> Sample:
    return replace(sample, tokens=replace(sample.tokens, **changes))


def test_a_sound_sample_passes(space: TokenSpace) -> None:
    admission.check_content(make_sample(1, space), space)
    admission.check_content(replace(make_sample(1, space), answer=""), space)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda s: _tokens(s, codec="jpeg"), Reason.SAMPLE_CODEC_UNKNOWN),
        (lambda s: _tokens(s, grid=Grid(rows=4, cols=5)), Reason.SAMPLE_SHAPE),
        (lambda s: _tokens(s, num_tokens=17), Reason.SAMPLE_SHAPE),
        (lambda s: _tokens(s, num_tokens=4), Reason.SAMPLE_CORRUPT),
        (lambda s: _tokens(s, payload=s.tokens.payload[:-3]), Reason.SAMPLE_CORRUPT),
        (lambda s: _tokens(s, payload=b"\xff" * 40), Reason.SAMPLE_CORRUPT),
        (lambda s: _tokens(s, payload=bytes(MAX_SAMPLE_BYTES + 1)), Reason.SAMPLE_TOO_LARGE),
    ],
)
def test_each_fault_has_its_reason(space: TokenSpace, spoil, reason: Reason) -> None:
    with pytest.raises(SampleError) as caught:
        admission.check_content(spoil(make_sample(1, space)), space)
    assert caught.value.reason is reason
    ack = admission.turned_down(b"x" * 16, caught.value)
    assert (ack.verdict, ack.reason) == (SampleVerdict.REFUSED, str(reason))
    assert explain(reason) in ack.detail


@pytest.mark.parametrize(
    "grid",
    [Grid(frames=2, rows=4, cols=4), Grid(frames=1024, rows=4, cols=4), Grid(rows=8, cols=2)],
)
def test_a_grid_that_the_pair_has_no_places_for_is_refused_before_anything_is_decoded(
    space: TokenSpace, grid: Grid
) -> None:
    sample = _tokens(make_sample(1, space), grid=grid, num_tokens=grid.num_tokens, payload=b"\xff")
    with pytest.raises(SampleError, match="has places for 1 x 4 x 4") as caught:
        admission.check_content(sample, space)
    assert caught.value.reason is Reason.SAMPLE_SHAPE


def test_a_clip_may_have_fewer_frames_than_the_pair(space: TokenSpace) -> None:
    clips = replace(space, grid=replace(space.grid, frames=4))
    admission.check_grid(make_sample(1, space).tokens, clips)


@pytest.mark.parametrize("field", ["question", "answer", "owner_answer"])
def test_each_text_is_bounded_in_tokens(space: TokenSpace, field: str) -> None:
    rooms = text_rooms(load_pair("tiny"))
    limits = AdmissionLimits()
    admission.check_texts(make_sample(1, space), rooms, limits)
    long = replace(make_sample(1, space), **{field: "\U0001f600" * 4_000})
    with pytest.raises(SampleError, match=field) as caught:
        admission.check_texts(long, rooms, limits)
    assert caught.value.reason is Reason.SAMPLE_TEXT_INVALID


def _pictured(space: TokenSpace) -> Sample:
    return with_regions(make_sample(1, space), draw_picture(0, 160, 160))


def test_sound_regions_pass(space: TokenSpace) -> None:
    sample = _pictured(space)
    assert sample.regions is not None and sample.regions.layout is RegionLayout.MOSAIC
    admission.check_content(sample, space)
    admission.check_content(with_regions(make_sample(1, space), draw_picture(0, 32, 32)), space)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (lambda s: spoil(s, crops=b"x" * 900), Reason.SAMPLE_PICTURE_INVALID),
        (lambda s: spoil(s, crops=s.regions.crops[:-200]), Reason.SAMPLE_PICTURE_INVALID),
        (lambda s: spoil(s, thumbnail=b""), Reason.SAMPLE_PICTURE_INVALID),
        (lambda s: spoil(s, height=320), Reason.SAMPLE_PICTURE_INVALID),
        (lambda s: spoil(s, layout=RegionLayout.WHOLE), Reason.SAMPLE_PICTURE_INVALID),
    ],
)
def test_broken_regions_have_their_reason(space: TokenSpace, broken, reason: Reason) -> None:
    sample = broken(_pictured(space))
    with pytest.raises(SampleError) as caught:
        admission.check_content(sample, space)
    assert caught.value.reason is reason
    assert admission.turned_down(sample.id, caught.value).verdict is SampleVerdict.REFUSED
    admission.check_content(replace(sample, regions=None), space)


def test_another_token_space_is_refused(space: TokenSpace) -> None:
    with pytest.raises(SampleError) as caught:
        admission.check_token_space("0" * 64, space)
    assert caught.value.reason is Reason.TOKEN_SPACE_UNKNOWN


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        (Usage(day_samples=9, day_bytes=900, waiting_samples=49, own_waiting_samples=29), None),
        (Usage(day_samples=10), Reason.QUOTA_EXCEEDED),
        (Usage(day_bytes=901), Reason.QUOTA_EXCEEDED),
        (Usage(waiting_samples=50, own_waiting_samples=29, num_others=1), Reason.STORE_BUSY),
        (Usage(waiting_samples=50, own_waiting_samples=24, num_others=1), None),
        (Usage(waiting_samples=74, own_waiting_samples=25, num_others=1), Reason.STORE_BUSY),
        (Usage(own_waiting_samples=30), Reason.STORE_BUSY),
    ],
)
def test_quota_asks_to_come_back(usage: Usage, reason: Reason | None) -> None:
    quota = Quota(day_samples=10, day_bytes=1_000, waiting_samples=50, device_waiting_samples=30)
    if reason is None:
        admission.check_quota(usage, 100, quota)
        return
    with pytest.raises(SampleError) as caught:
        admission.check_quota(usage, 100, quota)
    assert caught.value.reason is reason
    assert admission.turned_down(b"", caught.value).verdict is SampleVerdict.RETRY


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 2**62))
def test_zero_means_no_limit(samples: int, num_bytes: int, waiting: int) -> None:
    usage = Usage(day_samples=samples, day_bytes=num_bytes, waiting_samples=waiting)
    admission.check_quota(usage, 1, Quota(day_samples=0, day_bytes=0, waiting_samples=0))
