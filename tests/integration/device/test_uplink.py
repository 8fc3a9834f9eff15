"""Samples up to a cloud that misbehaves: none lost, none stored twice, the device goes on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from driftline_device.link.link import Link
from driftline_device.link.settings import LinkSettings
from driftline_device.spool.spool import Spool
from driftline_device.spool.sqlite import SqliteSpool
from driftline_shared.callbacks import ignore
from driftline_shared.errors import Reason
from driftline_shared.host.clock import Clock
from driftline_shared.retry import Backoff
from driftline_shared.status import Enrolment, SampleAck, SampleVerdict
from driftline_shared.tokens import Sample, SamplingPolicy
from driftline_shared.wire import EncodedSample
from tests.fakes.clock import FakeClock
from tests.fakes.cloud_server import FakeCloud, PushPlan
from tests.fakes.samples import make_regions, make_sample, to_batch
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


@dataclass(kw_only=True)
class Rig:
    """A device's spool, the cloud it sends to, and the links made between them."""

    cloud: FakeCloud
    spool: Spool
    folder: Path
    links: list[Link] = field(default_factory=list)

    def start(
        self,
        on_policy: Callable[[SamplingPolicy], None] = ignore,
        clock: Clock | None = None,
        **changes: Any,
    ) -> Link:
        link = Link(
            replace(settings_for(self.cloud), **changes),
            lambda: ENROLMENT,
            self.spool,
            folder=self.folder,
            on_policy=on_policy,
            clock=clock,
            rng=random.Random(1),
        )
        self.links.append(link)
        link.start()
        return link

    def fill(self, num: int, first: int = 0) -> list[Sample]:
        return self.append([make_sample(n) for n in range(first, first + num)])

    def append(self, samples: list[Sample]) -> list[Sample]:
        for sample in samples:
            assert self.spool.append(EncodedSample.of(sample))
        return samples

    def send(self, **changes: Any) -> Link:
        """A link that has sent all that was spooled."""
        link = self.start(**changes)
        assert link.flush(WAIT_S)
        return link

    def assert_all_arrived(self, samples: list[Sample]) -> None:
        assert self.cloud.stored == {sample.id: sample for sample in samples}
        stats = self.spool.stats()
        assert (stats.num_samples, stats.num_acked) == (0, len(samples))


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    with FakeCloud() as cloud:
        yield cloud


@pytest.fixture
def rig(cloud: FakeCloud, tmp_path: Path) -> Iterator[Rig]:
    spool = SqliteSpool(tmp_path / "own.sqlite", max_bytes=64 << 20, max_samples=10_000)
    with closing(spool):
        rig = Rig(cloud=cloud, spool=spool, folder=tmp_path / "link")
        yield rig
        for link in rig.links:
            assert link.stop(), "threads of the link did not end"


def test_everything_arrives_once(cloud: FakeCloud, rig: Rig) -> None:
    samples = rig.fill(30)
    link = rig.send()
    rig.assert_all_arrived(samples)
    assert len(cloud.arrivals) == 30
    stats = link.stats()
    assert (stats.num_sent, stats.num_acked, stats.num_reconnects) == (30, 30, 0)
    assert stats.connected and stats.last_error == ""
    until(lambda: link.stats().num_in_flight == 0)  # it falls after the last sample is settled
    assert stats.bytes_up > sum(len(sample.tokens.payload) for sample in samples)


def test_what_was_spooled_is_what_travels(cloud: FakeCloud, rig: Rig) -> None:
    """Byte for byte the message that is built field by field."""
    samples = rig.fill(3)
    rig.send()
    batch = to_batch(ENROLMENT.device_id, ENROLMENT.token_space, samples)
    assert cloud.batches == [batch.SerializeToString(deterministic=True)]


def test_samples_held_back_stay_until_they_are_let_go(cloud: FakeCloud, rig: Rig) -> None:
    samples = rig.fill(6)
    link = rig.send()  # a stream is open
    link.hold(True)
    samples += rig.fill(6, first=6)
    link.wake()
    assert not link.flush(0.5)
    assert link.stats().connected
    assert len(cloud.stored) == 6
    link.hold(False)
    assert link.flush(WAIT_S)
    rig.assert_all_arrived(samples)


def test_a_link_that_begins_held_back_sends_nothing(cloud: FakeCloud, rig: Rig) -> None:
    samples = rig.fill(3)
    link = rig.start(idle_s=0.05)
    link.hold(True)
    until(lambda: link.stats().connected)
    sent = len(cloud.arrivals)
    assert not link.flush(0.3)
    assert len(cloud.arrivals) == sent
    link.hold(False)
    assert link.flush(WAIT_S)
    rig.assert_all_arrived(samples)


@pytest.mark.parametrize("allowed", [False, True])
def test_regions_spooled_earlier_leave_only_while_the_owner_allows_it(
    cloud: FakeCloud, rig: Rig, allowed: bool
) -> None:
    samples = rig.append([replace(make_sample(n), regions=make_regions(n)) for n in range(6)])
    link = rig.send(images_may_leave=allowed)
    sent = samples if allowed else [replace(sample, regions=None) for sample in samples]
    rig.assert_all_arrived(sent)
    num_bytes = sum(sample.regions.num_bytes for sample in samples if sample.regions)
    assert (link.stats().bytes_up > num_bytes) is allowed


def test_later_samples_use_the_same_stream(cloud: FakeCloud, rig: Rig) -> None:
    link = rig.start()
    for start in range(0, 20, 5):
        rig.fill(5, first=start)
        link.wake()
        assert link.flush(WAIT_S)
    assert len(cloud.stored) == 20
    assert cloud.num_streams == 1


def test_an_idle_stream_is_closed_and_opened_again(cloud: FakeCloud, rig: Rig) -> None:
    link = rig.start(idle_s=0.0)
    for start in range(0, 15, 5):
        rig.fill(5, first=start)
        assert link.flush(WAIT_S)
        # Closed, not broken: the device is still connected, and nothing counts as a reconnect.
        until(lambda: link._uplink._stream is None)
    assert link.stats().num_reconnects == 0 and link.stats().connected
    assert cloud.num_streams == 3
    assert len(cloud.arrivals) == 15


@pytest.mark.parametrize("break_after", [1, 4, 5, 11])
def test_a_broken_stream_is_resent(cloud: FakeCloud, rig: Rig, break_after: int) -> None:
    cloud.pushes.extend([PushPlan(break_after=break_after)] * 3)
    samples = rig.fill(20)
    link = rig.send()
    rig.assert_all_arrived(samples)
    assert link.stats().num_reconnects >= 2
    assert len(cloud.arrivals) > len(set(cloud.arrivals)), "nothing was resent: the test is void"


@pytest.mark.parametrize(
    ("plans", "num_reconnects", "error"),
    [
        ([PushPlan(mute_after=3)], 1, "no ack"),
        ([PushPlan(close=True), PushPlan(abort=Reason.INTERNAL)], 2, ""),
    ],
)
def test_a_stream_that_goes_mute_or_ends_early_is_opened_anew(
    cloud: FakeCloud, rig: Rig, plans: list[PushPlan], num_reconnects: int, error: str
) -> None:
    cloud.pushes.extend(plans)
    samples = rig.fill(20)
    with capture_logs() as lines:
        link = rig.send(ack_timeout_s=0.2)
        rig.assert_all_arrived(samples)
    assert link.stats().num_reconnects >= num_reconnects
    told = [line["error"] for line in lines if line["event"] == "link.failed"]
    assert told and error in " ".join(told)
    until(lambda: link.stats().last_error == "")  # it has mended itself


def test_the_window_bounds_what_is_under_way(cloud: FakeCloud, rig: Rig) -> None:
    cloud.pushes.append(PushPlan(mute_after=1))
    rig.fill(60)
    link = rig.start()
    until(lambda: link.stats().num_in_flight == 12)
    until(lambda: len(cloud.stored) >= 1)
    assert link.stats().num_sent == 12


def test_batches_stay_below_their_bound(cloud: FakeCloud, rig: Rig) -> None:
    rig.append([make_sample(n, payload_bytes=700_000) for n in range(12)])
    rig.append([make_sample(99, payload_bytes=1 << 20)])
    rig.send(batch_samples=256)
    assert len(cloud.stored) == 13
    assert (1 << 20) < cloud.max_batch_bytes <= (1 << 20) + (1 << 16)


def test_repeated_and_stray_acks_do_no_harm(cloud: FakeCloud, rig: Rig) -> None:
    waiting = make_sample(5_000)
    strays = (
        SampleAck(id=waiting.id, verdict=SampleVerdict.STORED),
        SampleAck(id=b"nonsense", verdict=SampleVerdict.REFUSED, reason="sample_shape"),
    )
    # `waiting` is acked before it was ever sent: only its own ack may take it from the rig.spool.
    cloud.pushes.append(PushPlan(ack_twice=True, strays=strays))
    samples = [*rig.fill(25), *rig.append([waiting])]
    link = rig.send()
    rig.assert_all_arrived(samples)
    assert link.stats().num_acked == 26


def test_refused_samples_leave_with_their_reason(cloud: FakeCloud, rig: Rig) -> None:
    def judge(sample: Sample) -> SampleAck | None:
        if sample.audit:
            return SampleAck(id=sample.id, verdict=SampleVerdict.REFUSED, reason="sample_shape")
        return None

    cloud.pushes.append(PushPlan(judge=judge))
    samples = rig.fill(20)
    link = rig.send()
    assert set(cloud.stored) == {sample.id for sample in samples if not sample.audit}
    assert rig.spool.stats().refused_by_reason == {"sample_shape": 10}
    assert link.stats().num_refused == 10


@pytest.mark.parametrize("verdict", [SampleVerdict.RETRY, SampleVerdict.REFUSED])
def test_a_busy_cloud_gets_them_later(cloud: FakeCloud, rig: Rig, verdict: SampleVerdict) -> None:
    num_asked = 0

    def judge(sample: Sample) -> SampleAck | None:
        nonlocal num_asked
        num_asked += 1
        if num_asked % 3 == 0 and num_asked < 40:
            return SampleAck(id=sample.id, verdict=verdict, reason=Reason.STORE_BUSY)
        return None

    cloud.pushes.append(PushPlan(judge=judge))
    samples = rig.fill(20)
    link = rig.send()
    rig.assert_all_arrived(samples)
    assert len(cloud.arrivals) == 20, "what was stored must not be sent again for its neighbour"
    assert link.stats().num_retried > 0
    assert link.stats().num_reconnects == 0


def test_a_cloud_that_forgot_us_is_told_again(cloud: FakeCloud, rig: Rig) -> None:
    link = rig.start()
    rig.fill(10)
    assert link.flush(WAIT_S)
    cloud.stop()
    cloud.forget()
    cloud.start()
    more = rig.fill(10, first=100)
    link.wake()
    assert link.flush(WAIT_S)
    assert set(cloud.stored) == {sample.id for sample in more}
    assert cloud.num_enrolments >= 2 and "device-1" in cloud.devices
    until(lambda: link.stats().connected)


def test_works_offline_and_catches_up(cloud: FakeCloud, rig: Rig) -> None:
    cloud.stop()  # its port is free now: nobody is there when the link begins
    link = rig.start()
    samples = rig.fill(10)
    until(lambda: link.stats().last_error.startswith("unreachable"))
    assert not link.stats().connected
    with cloud:
        assert link.flush(WAIT_S)
        samples += rig.fill(10, first=50)
        assert link.flush(WAIT_S)
    samples += rig.fill(10, first=90)
    until(lambda: not link.stats().connected)
    assert link.stop()
    with cloud:  # a new link finds what was left
        rig.send()
    assert cloud.stored == {sample.id: sample for sample in samples}


def test_stop_keeps_what_is_not_acked(cloud: FakeCloud, rig: Rig) -> None:
    cloud.pushes.append(PushPlan(mute_after=1))
    rig.fill(30)
    link = rig.start()
    until(lambda: len(cloud.stored) >= 1)
    assert link.stop(timeout_s=2.0)
    assert rig.spool.stats().num_samples == 30
    assert not link.stats().connected


def test_a_cloud_that_dropped_the_line_is_asked_now_and_then(cloud: FakeCloud, rig: Rig) -> None:
    clock = FakeClock()
    cloud.enrol_errors.extend([Reason.LINE_DROPPED] * 2)
    samples = rig.fill(3)
    link = rig.start(clock=clock, dropped_s=3_600.0)
    until(lambda: cloud.num_enrolments == 3)
    until(lambda: len(cloud.stored) == len(samples))
    long = [one for one in clock.waits if one > 60.0]
    assert len(long) == 2 and all(1_800.0 <= one <= 3_600.0 for one in long)
    assert link.stop()


def test_an_enrolment_refused_is_tried_again(cloud: FakeCloud, rig: Rig) -> None:
    cloud.enrol_errors.extend([Reason.TOKEN_SPACE_UNKNOWN, Reason.STORE_BUSY])
    rig.fill(3)
    rig.send()
    assert cloud.num_enrolments == 3
    assert cloud.num_streams == 1, "nothing is pushed before the enrolment"


def test_policies_are_followed(cloud: FakeCloud, rig: Rig) -> None:
    seen: list[SamplingPolicy] = []
    rig.start(seen.append, policy_s=0.0)
    until(lambda: bool(seen))
    cloud.policy = replace(cloud.policy, revision=7, token_share=0.25)
    until(lambda: len(seen) == 2)
    assert seen[-1] == cloud.policy


def test_any_chaos_loses_and_doubles_nothing(cloud: FakeCloud, rig: Rig) -> None:
    rng = random.Random(11)
    plans = [
        lambda: PushPlan(break_after=rng.randrange(1, 20)),
        lambda: PushPlan(mute_after=rng.randrange(1, 20)),
        lambda: PushPlan(ack_twice=True, break_after=rng.randrange(5, 30)),
        lambda: PushPlan(close=True),
        lambda: PushPlan(abort=rng.choice([Reason.STORE_BUSY, Reason.UNKNOWN_DEVICE])),
    ]
    cloud.pushes.extend(rng.choice(plans)() for _ in range(15))
    link = rig.start(ack_timeout_s=0.2)
    samples = []
    for start in range(0, 200, 40):
        samples += rig.fill(40, first=start)
        link.wake()
        if start == 80:
            cloud.stop()
            cloud.start()
        until(lambda: rig.spool.stats().num_samples < 60)
    assert link.flush(WAIT_S)
    rig.assert_all_arrived(samples)
