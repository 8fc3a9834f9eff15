"""The parts of a replay beside each other: links and rounds in time, samples as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.config import load_config
from driftline_cloud.rounds.trigger import TriggerPolicy, Waiting, why_start
from driftline_device.link.settings import LinkSettings
from driftline_device.spool.sqlite import SqliteSpool
from driftline_lab.replay.clock import VirtualClock
from driftline_lab.replay.cloud.side import StepDone
from driftline_lab.replay.device.updates import VirtualDownlink
from driftline_lab.replay.device.uplink import VirtualUplink
from driftline_lab.replay.links import Link, LinkProfile, Outages
from driftline_lab.replay.reading import first_moment, read_records
from driftline_lab.replay.rounds import RoundDriver, may_fire
from driftline_lab.replay.settings import ComputeTimes
from driftline_shared.errors import DataError, LinkError
from driftline_shared.status import SampleAck, SampleVerdict
from driftline_shared.trace.event import EventKind
from driftline_shared.wire import EncodedSample
from tests.fakes.cloud import bare_pair, make_sample
from tests.fakes.traces import answer_event

SLOW = LinkProfile(name="slow", up_bits_s=8e3, down_bits_s=8e3, round_trip_s=2.0)


@dataclass
class FakeCloud:
    """Takes everything; remembers when. `verdicts`: of the first samples, in order."""

    clock: VirtualClock
    verdicts: list[SampleVerdict] = field(default_factory=list)
    steps: list[StepDone] = field(default_factory=list)
    pushes: list[tuple[float, int]] = field(default_factory=list)
    stepped_s: list[float] = field(default_factory=list)

    def push(self, device_id: str, token_space: str, bodies: Sequence[bytes]) -> list[SampleAck]:
        self.pushes.append((self.clock.monotonic_s(), len(bodies)))
        verdicts = [self.verdicts.pop(0) if self.verdicts else SampleVerdict.STORED for _ in bodies]
        ids = [EncodedSample.read(body).id for body in bodies]
        return [SampleAck(id=i, verdict=v, reason="r") for i, v in zip(ids, verdicts, strict=True)]

    def check(self, query: object) -> None:
        self.pushes.append((self.clock.monotonic_s(), 0))

    def step(self) -> StepDone:
        self.stepped_s.append(self.clock.monotonic_s())
        return self.steps.pop(0) if self.steps else StepDone(busy=False)


class Up:
    """A spool, an uplink and a cloud on one clock."""

    def __init__(self, folder: Path, profile: LinkProfile, **cloud: object) -> None:
        self.clock = VirtualClock(0.0)
        self.cloud = FakeCloud(self.clock, **cloud)  # type: ignore[arg-type]
        self.space = bare_pair(folder / "pair").token_space
        self.spool = SqliteSpool(
            folder / "spool", max_bytes=1 << 20, max_samples=100, durable=False
        )
        self.stored = 0
        self.uplink = VirtualUplink(
            device_id="d", token_space=self.space.digest, spool=self.spool, cloud=self.cloud,  # type: ignore[arg-type]
            link=Link(profile, seed=0), clock=self.clock, settings=LinkSettings(address=""),
            on_stored=self._count, seed=0,
        )  # fmt: skip

    def _count(self, count: int) -> None:
        self.stored += count

    def append(self, number: int) -> None:
        self.spool.append(EncodedSample.of(make_sample(number, self.space)))
        self.uplink.wake()


def test_a_sample_leaves_the_spool_when_its_ack_is_back(tmp_path: Path) -> None:
    up = Up(tmp_path, SLOW)
    up.append(1)
    up.clock.run_until(1.0)
    assert up.cloud.pushes == [] and up.spool.stats().num_samples == 1
    up.clock.run_until(1.5)
    assert len(up.cloud.pushes) == 1 and up.spool.stats().num_samples == 1
    up.clock.run_until(3.0)
    assert up.spool.stats().num_samples == 0 and up.uplink.is_idle
    up.spool.close()


def test_what_comes_while_a_batch_is_under_way_goes_together_in_the_next(tmp_path: Path) -> None:
    up = Up(tmp_path, SLOW)
    for number in range(4):
        up.append(number)
    up.clock.run_until(60.0)
    assert [count for _, count in up.cloud.pushes] == [1, 3]
    assert up.uplink.counts.num_stored == up.stored == 4
    up.spool.close()


def test_what_is_refused_goes_and_what_is_wanted_later_comes_again(tmp_path: Path) -> None:
    verdicts = [SampleVerdict.REFUSED, SampleVerdict.RETRY, SampleVerdict.DUPLICATE]
    up = Up(tmp_path, SLOW, verdicts=verdicts)
    up.append(1)
    up.append(2)
    up.clock.run_until(120.0)
    counts = up.uplink.counts
    assert (counts.num_refused, counts.num_retried, counts.num_duplicates) == (1, 1, 1)
    assert up.uplink.is_idle and up.spool.stats().refused_by_reason == {"r": 1}
    up.spool.close()


def test_a_check_fails_as_the_device_would_when_the_link_is_away(tmp_path: Path) -> None:
    away = replace(SLOW, outages=Outages(every_s=100.0, least_s=60.0, most_s=60.0))
    clock, link = VirtualClock(0.0), Link(away, seed=0)
    cloud = FakeCloud(clock)
    down = VirtualDownlink(
        device_id="d", base_model="b", cloud=cloud, link=link, clock=clock,  # type: ignore[arg-type]
        settings=LinkSettings(address=""), probe_s=0.0,
    )  # fmt: skip
    clock.run_until(next(float(s) for s in range(200) if link.up_from(s) > s + 30))
    before_s = clock.monotonic_s()
    with pytest.raises(LinkError, match="no answer within 10 s"):
        down.check(adapter_version=0, failed_versions=[])
    assert clock.monotonic_s() == before_s + 10.0 and cloud.pushes == []
    clock.run_until(link.up_from(before_s))
    assert down.check(adapter_version=0, failed_versions=[]) is None


def driver(cloud: FakeCloud, clock: VirtualClock, times: ComputeTimes | None = None) -> RoundDriver:
    config = load_config(None, {"rounds.poll_s": 0.5}, environment={})
    return RoundDriver(clock, cloud, config, times or ComputeTimes(), num_answers=lambda: 7)  # type: ignore[arg-type]


def test_each_state_of_a_round_ends_when_its_work_would(tmp_path: Path) -> None:
    clock = VirtualClock(1_000.0)
    states = ["snapshot", "labelling", "distilling", "gating", "compressing", "releasing", ""]
    cloud = FakeCloud(clock)
    cloud.steps = [
        StepDone(busy=True, number=1 if s else 0, state=s, num_samples=20, reason="count")
        for s in states
    ]
    times = ComputeTimes(label_s=0.1, step_s=1.0, gate_s=3.0, compress_s=4.0, release_s=5.0)
    rounds = driver(cloud, clock, times)
    rounds.start()
    clock.run_until(10.2)
    rounds.samples_came(400)
    assert not rounds.is_quiet
    clock.run_until(70.6)
    # 17 of 20 samples are trained on: the fewest steps, 40, of 1 s.
    assert cloud.stepped_s[:7] == pytest.approx([10.5, 10.5, 12.5, 52.5, 55.5, 59.5, 64.5])
    assert rounds.is_quiet and rounds.changed_s == pytest.approx(64.5)
    assert (rounds.opened[1].at, rounds.opened[1].trigger) == (7, "count")


def test_a_round_that_went_wrong_is_tried_again_when_it_may_be(tmp_path: Path) -> None:
    clock = VirtualClock(1_000.0)
    resting = StepDone(
        busy=True, number=1, state="labelling", num_samples=0, not_before_unix_s=1_040.0
    )
    cloud = FakeCloud(clock, steps=[resting])
    rounds = driver(cloud, clock)
    rounds.samples_came(400)
    clock.run_until(60.0)
    assert cloud.stepped_s[:2] == pytest.approx([0.5, 40.0])


def test_many_samples_of_one_moment_are_looked_at_once(tmp_path: Path) -> None:
    clock = VirtualClock(0.0)
    cloud = FakeCloud(clock)
    rounds = driver(cloud, clock)
    for _ in range(5):
        rounds.samples_came(100)
    clock.run_until(1.0)
    assert cloud.stepped_s == [0.5]


def test_too_few_samples_are_not_looked_at_until_they_are_old(tmp_path: Path) -> None:
    clock = VirtualClock(0.0)
    cloud = FakeCloud(clock)
    rounds = driver(cloud, clock)
    rounds.start()
    rounds.samples_came(63)
    clock.run_until(4_000.0)
    assert cloud.stepped_s == [] and rounds.is_quiet
    rounds.samples_came(1)
    clock.run_until(4_001.0)
    assert cloud.stepped_s == [4_000.5]


def test_after_a_look_the_age_is_that_of_what_waits(tmp_path: Path) -> None:
    clock = VirtualClock(1_000.0)
    cloud = FakeCloud(clock, steps=[StepDone(busy=False, num_waiting=70, oldest_unix_s=1_000)])
    rounds = driver(cloud, clock)
    rounds.start()
    rounds.samples_came(400)
    clock.run_until(1.0)
    rounds.samples_came(1)
    clock.run_until(3_500.0)
    assert cloud.stepped_s == [0.5]
    clock.run_until(3_700.0)
    assert len(cloud.stepped_s) == 2 and 3_600.0 <= cloud.stepped_s[1] <= 3_630.0


@given(
    st.integers(0, 400),
    st.floats(0, 5_000),
    st.floats(0, 1),
    st.builds(
        TriggerPolicy,
        round_samples=st.integers(2, 300),
        max_age_s=st.sampled_from([0.0, 100.0]),
        age_min_samples=st.integers(0, 300),
        drift_share=st.sampled_from([0.0, 0.6]),
        drift_min_samples=st.integers(0, 300),
    ),
)
def test_no_look_is_left_out_that_would_start_a_round(
    num: int, age_s: float, drift: float, policy: TriggerPolicy
) -> None:
    waiting = Waiting(num_samples=num, oldest_age_s=age_s, drift_score=drift, rested_s=None)
    if why_start(policy, waiting) is not None:
        assert may_fire(policy, num, age_s)


def test_samples_are_what_was_sent_and_a_clock_set_back_stands_still(tmp_path: Path) -> None:
    space = bare_pair(tmp_path / "pair").token_space
    sample = make_sample(1, space)
    event = answer_event(
        7, coded=sample.tokens.payload, kept=(0, 1, 2, 3, 4), sample_id=sample.id.hex(),
        scores={"entropy": 0.5}, p_value=0.25, audit=True,
    )  # fmt: skip
    round_ = replace(event, kind=EventKind.ROUND)
    events = [round_, event, replace(event, wall_unix_s=event.wall_unix_s - 9, sent=False)]
    first, second = read_records(events, space, with_tokens=False)
    assert (first.at_s, second.at_s) == (0.0, 0.0) and second.sample is None
    assert first.sample is not None and first.sample.sample.tokens == sample.tokens
    assert first.sample.sample.priority == 0.75 and first.sample.sample.audit
    assert EncodedSample.read(first.sample.body).id == sample.id
    assert first_moment(events) == event.wall_unix_s


def test_samples_of_a_cloud_go_up_again_but_for_those_it_could_not_read(tmp_path: Path) -> None:
    space = bare_pair(tmp_path / "pair").token_space
    good = answer_event(7, kind=EventKind.SAMPLE, verdict="stored", sent=None)
    bad = answer_event(8, kind=EventKind.SAMPLE, verdict="refused", question=None, answer=None)
    found = list(read_records([bad, good], space, with_tokens=False))
    assert len(found) == 1 and found[0].sample is not None and found[0].at_s == 0.0


def test_rows_that_cannot_be_replayed_are_named(tmp_path: Path) -> None:
    space = bare_pair(tmp_path / "pair").token_space
    with pytest.raises(DataError, match="event 3 has no device"):
        list(read_records([answer_event(1, sequence=3, device=None)], space, with_tokens=False))
    with pytest.raises(DataError, match="'xyz', not 32 hex digits"):
        list(read_records([answer_event(7, sample_id="xyz")], space, with_tokens=False))
    with pytest.raises(DataError, match="nothing to replay"):
        first_moment([answer_event(1, kind=EventKind.ROUND)])
