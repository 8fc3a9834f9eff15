"""Samples up to a cloud that misbehaves: none lost, none stored twice, the device goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_device.link.link import Link
from driftline_device.link.settings import LinkSettings
from driftline_device.spool.spool import Spool
from driftline_device.spool.sqlite import SqliteSpool
from driftline_shared.errors import Reason
from driftline_shared.retry import Backoff
from driftline_shared.status import Enrolment, SampleAck, SampleVerdict
from driftline_shared.tokens import Sample, SamplingPolicy
from driftline_shared.wire import EncodedSample
from tests.fakes.cloud_server import FakeCloud, PushPlan
from tests.fakes.samples import encoded, make_regions, make_sample, to_batch
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

WAIT_S = 30.0
ENROLMENT = Enrolment(
    device_id="device-1", pair="tiny", token_space="space", base_model="base", adapter_version=0
)
QUICK = Backoff(first_s=0.02, cap_s=0.1, floor_s=0.01)


def settings_for(cloud: FakeCloud) -> LinkSettings:
    return LinkSettings(
        address=cloud.address,
        batch_samples=4,
        window_samples=12,
        call_timeout_s=5.0,
        poll_s=0.02,
        backoff=QUICK,
    )


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    with FakeCloud() as cloud:
        yield cloud


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(
        SqliteSpool(tmp_path / "own.sqlite", max_bytes=64 << 20, max_samples=10_000)
    ) as spool:
        yield spool


MakeLink = Callable[..., Link]


@pytest.fixture
def make_link(cloud: FakeCloud, spool: Spool, tmp_path: Path) -> Iterator[MakeLink]:
    made: list[Link] = []

    def make(**options: object) -> Link:
        chosen = replace(settings_for(cloud), **options.pop("settings", {}))  # type: ignore[arg-type]
        values: dict[str, object] = {"folder": tmp_path / "link", "rng": random.Random(1)}
        link = Link(chosen, lambda: ENROLMENT, spool, **(values | options))  # type: ignore[arg-type]
        made.append(link)
        link.start()
        return link

    yield make
    for link in made:
        assert link.stop(), "threads of the link did not end"


def fill(spool: Spool, num: int, first: int = 0) -> list[Sample]:
    samples = [make_sample(n) for n in range(first, first + num)]
    for sample in samples:
        assert spool.append(EncodedSample.of(sample))
    return samples


def assert_all_arrived(cloud: FakeCloud, spool: Spool, samples: list[Sample]) -> None:
    assert cloud.stored == {sample.id: sample for sample in samples}
    stats = spool.stats()
    assert (stats.num_samples, stats.num_acked) == (0, len(samples))


def test_everything_arrives_once(cloud: FakeCloud, spool: Spool, make_link: MakeLink) -> None:
    samples = fill(spool, 30)
    link = make_link()
    assert link.flush(WAIT_S)
    assert_all_arrived(cloud, spool, samples)
    assert len(cloud.arrivals) == 30
    stats = link.stats()
    assert (stats.num_sent, stats.num_acked, stats.num_reconnects) == (30, 30, 0)
    assert stats.connected and stats.last_error == "" and stats.num_in_flight == 0
    assert stats.bytes_up > sum(len(sample.tokens.payload) for sample in samples)


def test_what_was_spooled_is_what_travels(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    """Byte for byte the message that is built field by field."""
    samples = fill(spool, 3)
    assert make_link().flush(WAIT_S)
    batch = to_batch(ENROLMENT.device_id, ENROLMENT.token_space, samples)
    assert cloud.batches == [batch.SerializeToString(deterministic=True)]


def test_samples_held_back_stay_until_they_are_let_go(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    samples = fill(spool, 6)
    link = make_link()
    assert link.flush(WAIT_S)  # a stream is open
    link.hold(True)
    samples += fill(spool, 6, first=6)
    link.wake()
    assert not link.flush(0.5)
    assert link.stats().connected
    assert len(cloud.stored) == 6
    link.hold(False)
    assert link.flush(WAIT_S)
    assert_all_arrived(cloud, spool, samples)


def test_a_link_that_begins_held_back_sends_nothing(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    samples = fill(spool, 3)
    link = make_link(settings={"idle_s": 0.05})
    link.hold(True)
    until(lambda: link.stats().connected)
    sent = len(cloud.arrivals)
    assert not link.flush(0.3)
    assert len(cloud.arrivals) == sent
    link.hold(False)
    assert link.flush(WAIT_S)
    assert_all_arrived(cloud, spool, samples)


@pytest.mark.parametrize("allowed", [False, True])
def test_regions_spooled_earlier_leave_only_while_the_owner_allows_it(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink, allowed: bool
) -> None:
    samples = [replace(make_sample(n), regions=make_regions(n)) for n in range(6)]
    for sample in samples:
        assert spool.append(EncodedSample.of(sample))
    link = make_link(settings={"images_may_leave": allowed})
    assert link.flush(WAIT_S)
    sent = samples if allowed else [replace(sample, regions=None) for sample in samples]
    assert_all_arrived(cloud, spool, sent)
    num_bytes = sum(sample.regions.num_bytes for sample in samples if sample.regions)
    assert (link.stats().bytes_up > num_bytes) is allowed


def test_later_samples_use_the_same_stream(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    link = make_link()
    for start in range(0, 20, 5):
        fill(spool, 5, first=start)
        link.wake()
        assert link.flush(WAIT_S)
    assert len(cloud.stored) == 20
    assert cloud.num_streams == 1


def test_an_idle_stream_is_closed_and_opened_again(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    link = make_link(settings={"idle_s": 0.0})
    for start in range(0, 15, 5):
        fill(spool, 5, first=start)
        assert link.flush(WAIT_S)
        # Closed, not broken: the device is still connected, and nothing counts as a reconnect.
        until(lambda: link._uplink._stream is None)
    assert link.stats().num_reconnects == 0 and link.stats().connected
    assert cloud.num_streams == 3
    assert len(cloud.arrivals) == 15


@pytest.mark.parametrize("break_after", [1, 4, 5, 11])
def test_a_broken_stream_is_resent(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink, break_after: int
) -> None:
    cloud.pushes.extend([PushPlan(break_after=break_after)] * 3)
    samples = fill(spool, 20)
    link = make_link()
    assert link.flush(WAIT_S)
    assert_all_arrived(cloud, spool, samples)
    assert link.stats().num_reconnects >= 2
    assert len(cloud.arrivals) > len(set(cloud.arrivals)), "nothing was resent: the test is void"


def test_a_mute_cloud_is_given_up(cloud: FakeCloud, spool: Spool, make_link: MakeLink) -> None:
    cloud.pushes.append(PushPlan(mute_after=3))
    samples = fill(spool, 20)
    link = make_link(settings={"ack_timeout_s": 0.2})
    assert link.flush(WAIT_S)
    assert_all_arrived(cloud, spool, samples)
    assert "no ack" in link.stats().last_error


def test_the_window_bounds_what_is_under_way(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    cloud.pushes.append(PushPlan(mute_after=1))
    fill(spool, 60)
    link = make_link()
    until(lambda: link.stats().num_in_flight == 12)
    until(lambda: len(cloud.stored) >= 1)
    assert link.stats().num_sent == 12


def test_batches_stay_below_their_bound(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    for n in range(12):
        assert spool.append(encoded(n, payload_bytes=700_000))
    assert spool.append(encoded(99, payload_bytes=1 << 20))
    link = make_link(settings={"batch_samples": 256})
    assert link.flush(WAIT_S)
    assert len(cloud.stored) == 13
    assert (1 << 20) < cloud.max_batch_bytes <= (1 << 20) + (1 << 16)


def test_repeated_and_stray_acks_do_no_harm(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    waiting = make_sample(5_000)
    strays = (
        SampleAck(id=waiting.id, verdict=SampleVerdict.STORED),
        SampleAck(id=b"nonsense", verdict=SampleVerdict.REFUSED, reason="sample_shape"),
    )
    # `waiting` is acked before it was ever sent: only its own ack may take it from the spool.
    cloud.pushes.append(PushPlan(ack_twice=True, strays=strays))
    samples = [*fill(spool, 25), waiting]
    assert spool.append(EncodedSample.of(waiting))
    link = make_link()
    assert link.flush(WAIT_S)
    assert_all_arrived(cloud, spool, samples)
    assert link.stats().num_acked == 26


def test_refused_samples_leave_with_their_reason(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    def judge(sample: Sample) -> SampleAck | None:
        if sample.audit:
            return SampleAck(id=sample.id, verdict=SampleVerdict.REFUSED, reason="sample_shape")
        return None

    cloud.pushes.append(PushPlan(judge=judge))
    samples = fill(spool, 20)
    link = make_link()
    assert link.flush(WAIT_S)
    assert set(cloud.stored) == {sample.id for sample in samples if not sample.audit}
    assert spool.stats().refused_by_reason == {"sample_shape": 10}
    assert link.stats().num_refused == 10


@pytest.mark.parametrize("verdict", [SampleVerdict.RETRY, SampleVerdict.REFUSED])
def test_a_busy_cloud_gets_them_later(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink, verdict: SampleVerdict
) -> None:
    num_asked = 0

    def judge(sample: Sample) -> SampleAck | None:
        nonlocal num_asked
        num_asked += 1
        if num_asked % 3 == 0 and num_asked < 40:
            return SampleAck(id=sample.id, verdict=verdict, reason=Reason.STORE_BUSY)
        return None

    cloud.pushes.append(PushPlan(judge=judge))
    samples = fill(spool, 20)
    link = make_link()
    assert link.flush(WAIT_S)
    assert_all_arrived(cloud, spool, samples)
    assert len(cloud.arrivals) == 20, "what was stored must not be sent again for its neighbour"
    assert link.stats().num_retried > 0
    assert link.stats().num_reconnects == 0


def test_a_cloud_that_ends_the_stream_early(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    cloud.pushes.extend([PushPlan(close=True), PushPlan(abort=Reason.INTERNAL)])
    samples = fill(spool, 20)
    link = make_link()
    assert link.flush(WAIT_S)
    assert_all_arrived(cloud, spool, samples)
    assert link.stats().num_reconnects >= 2


def test_a_cloud_that_forgot_us_is_told_again(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    link = make_link()
    fill(spool, 10)
    assert link.flush(WAIT_S)
    cloud.stop()
    cloud.forget()
    cloud.start()
    more = fill(spool, 10, first=100)
    link.wake()
    assert link.flush(WAIT_S)
    assert set(cloud.stored) == {sample.id for sample in more}
    assert cloud.num_enrolments >= 2 and "device-1" in cloud.devices
    until(lambda: link.stats().connected)


def test_works_offline_and_catches_up(tmp_path: Path) -> None:
    with FakeCloud() as cloud:
        pass  # a port that is free now: nobody is there when the link begins
    spool = SqliteSpool(tmp_path / "spool.sqlite", max_bytes=1 << 20, max_samples=1_000)
    link = Link(settings_for(cloud), lambda: ENROLMENT, spool, folder=tmp_path / "link")
    link.start()
    samples = fill(spool, 10)
    until(lambda: link.stats().last_error.startswith("unreachable"))
    assert not link.stats().connected
    with cloud:
        assert link.flush(WAIT_S)
        samples += fill(spool, 10, first=50)
        assert link.flush(WAIT_S)
    more = fill(spool, 10, first=90)
    until(lambda: not link.stats().connected)
    assert link.stop()
    spool.close()
    # A new process finds what was left.
    spool = SqliteSpool(tmp_path / "spool.sqlite", max_bytes=1 << 20, max_samples=1_000)
    link = Link(settings_for(cloud), lambda: ENROLMENT, spool, folder=tmp_path / "link")
    link.start()
    with cloud:
        assert link.flush(WAIT_S)
    assert cloud.stored == {sample.id: sample for sample in [*samples, *more]}
    assert link.stop()
    spool.close()


def test_stop_keeps_what_is_not_acked(cloud: FakeCloud, spool: Spool, make_link: MakeLink) -> None:
    cloud.pushes.append(PushPlan(mute_after=1))
    fill(spool, 30)
    link = make_link()
    until(lambda: len(cloud.stored) >= 1)
    assert link.stop(timeout_s=2.0)
    assert spool.stats().num_samples == 30
    assert not link.stats().connected


def test_an_enrolment_refused_is_tried_again(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    cloud.enrol_errors.extend([Reason.TOKEN_SPACE_UNKNOWN, Reason.STORE_BUSY])
    fill(spool, 3)
    link = make_link()
    assert link.flush(WAIT_S)
    assert cloud.num_enrolments == 3
    assert cloud.num_streams == 1, "nothing is pushed before the enrolment"


def test_policies_are_followed(cloud: FakeCloud, make_link: MakeLink) -> None:
    seen: list[SamplingPolicy] = []
    make_link(on_policy=seen.append, settings={"policy_s": 0.0})
    until(lambda: bool(seen))
    cloud.policy = replace(cloud.policy, revision=7, token_share=0.25)
    until(lambda: len(seen) == 2)
    assert seen[-1] == cloud.policy


def test_any_chaos_loses_and_doubles_nothing(
    cloud: FakeCloud, spool: Spool, make_link: MakeLink
) -> None:
    rng = random.Random(11)
    plans = [
        lambda: PushPlan(break_after=rng.randrange(1, 20)),
        lambda: PushPlan(mute_after=rng.randrange(1, 20)),
        lambda: PushPlan(ack_twice=True, break_after=rng.randrange(5, 30)),
        lambda: PushPlan(close=True),
        lambda: PushPlan(abort=rng.choice([Reason.STORE_BUSY, Reason.UNKNOWN_DEVICE])),
    ]
    cloud.pushes.extend(rng.choice(plans)() for _ in range(15))
    link = make_link(settings={"ack_timeout_s": 0.2})
    samples = []
    for start in range(0, 200, 40):
        samples += fill(spool, 40, first=start)
        link.wake()
        if start == 80:
            cloud.stop()
            cloud.start()
        until(lambda: spool.stats().num_samples < 60)
    assert link.flush(WAIT_S)
    assert_all_arrived(cloud, spool, samples)
