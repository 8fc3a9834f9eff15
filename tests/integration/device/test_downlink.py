"""Updates down from a cloud that misbehaves: whole and right bytes, or a clear error."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_device.link.channel import open_channel
from driftline_device.link.counters import Counters
from driftline_device.link.downlink import MOST_ASK_AFTER_S, Downlink
from driftline_device.link.link import Link
from driftline_device.link.settings import LinkSettings
from driftline_device.spool.sqlite import SqliteSpool
from driftline_shared.errors import LinkError, Reason, UpdateError
from driftline_shared.retry import Backoff
from driftline_shared.status import Enrolment, UpdateOutcome, UpdateReport
from tests.fakes.clock import FakeClock
from tests.fakes.cloud_server import FakeCloud, FetchPlan
from tests.fakes.manifests import make_manifest
from tests.fakes.waiting import until

pytestmark = pytest.mark.integration

WAIT_S = 30.0
BLOB = random.Random(3).randbytes(9_500)
DIGEST = hashlib.sha256(BLOB).digest()
ENROLMENT = Enrolment(
    device_id="device-1", pair="tiny", token_space="space", base_model="base", adapter_version=0
)


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    with FakeCloud(chunk_bytes=1_000) as cloud:
        cloud.blobs[DIGEST] = BLOB
        cloud.devices["device-1"] = ENROLMENT
        yield cloud


MakeDownlink = Callable[..., Downlink]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_downlink(cloud: FakeCloud, tmp_path: Path, clock: FakeClock) -> Iterator[MakeDownlink]:
    channel = open_channel(cloud.address)

    def make(**options: object) -> Downlink:
        settings = LinkSettings(address=cloud.address, fetch_tries=4)
        return Downlink(
            channel,
            lambda: "device-1",
            tmp_path / "downloads",
            replace(settings, **options),  # type: ignore[arg-type]
            Counters(),
            clock=clock,
            rng=random.Random(1),
            stop=threading.Event(),
        )

    yield make
    channel.close()


def fetch(downlink: Downlink) -> bytes:
    return downlink.fetch(DIGEST, len(BLOB))


def test_fetches_a_blob(cloud: FakeCloud, make_downlink: MakeDownlink, clock: FakeClock) -> None:
    assert fetch(make_downlink()) == BLOB
    assert cloud.fetch_offsets == [0]
    assert clock.waits == []


def test_a_finished_download_is_not_paid_twice(
    cloud: FakeCloud, make_downlink: MakeDownlink
) -> None:
    assert fetch(make_downlink()) == fetch(make_downlink()) == BLOB
    assert len(cloud.fetch_offsets) == 1


BREAKS = [
    FetchPlan(break_at=2), FetchPlan(corrupt_at=1), FetchPlan(end_at=3), FetchPlan(skip_at=1)
]  # fmt: skip
REFUSED = [FetchPlan(break_at=2), FetchPlan(abort=Reason.OFFSET_INVALID)]


@pytest.mark.parametrize(
    ("plans", "offsets"),
    [
        # What came before the break, the broken chunk, the early end and the gap is kept.
        (BREAKS, [0, 2_000, 3_000, 6_000, 7_000]),
        ([FetchPlan(stall_at=4)], [0, 4_000]),  # ends by its deadline
        (REFUSED, [0, 2_000, 0]),  # an offset refused begins again
        ([FetchPlan(break_at=1)] * 9, range(0, 10_000, 1_000)),  # progress renews the tries
    ],
)
def test_breaks_are_resumed_by_offset(
    cloud: FakeCloud, make_downlink: MakeDownlink, plans: list[FetchPlan], offsets: Sequence[int]
) -> None:
    cloud.fetches.extend(plans)
    timeout_s = 60.0 if plans[0].stall_at is None else 0.5
    assert fetch(make_downlink(fetch_timeout_s=timeout_s)) == BLOB
    assert cloud.fetch_offsets == list(offsets)


def test_gives_up_after_tries_that_bring_nothing(
    cloud: FakeCloud, make_downlink: MakeDownlink, clock: FakeClock
) -> None:
    cloud.fetches.extend([FetchPlan(break_at=0)] * 4)
    with pytest.raises(LinkError, match="gave up after 4 tries") as caught:
        fetch(make_downlink())
    assert caught.value.reason is Reason.UNREACHABLE
    assert len(cloud.fetch_offsets) == 4
    assert len(clock.waits) == 3


def test_waits_grow_and_begin_anew_with_progress(
    cloud: FakeCloud, make_downlink: MakeDownlink, clock: FakeClock
) -> None:
    cloud.fetches.extend([*[FetchPlan(break_at=0)] * 3, FetchPlan(break_at=2)])
    backoff = Backoff(first_s=1.0, cap_s=60.0, floor_s=0.0)
    assert fetch(make_downlink(backoff=backoff)) == BLOB
    limits = [1.0, 2.0, 4.0, 1.0]
    assert len(clock.waits) == 4
    assert all(0.0 <= wait <= limit for wait, limit in zip(clock.waits, limits, strict=True))


def test_a_partial_file_survives_a_restart(cloud: FakeCloud, make_downlink: MakeDownlink) -> None:
    cloud.fetches.extend([FetchPlan(break_at=3), *[FetchPlan(break_at=0)] * 3])
    with pytest.raises(LinkError):
        fetch(make_downlink())
    cloud.fetch_offsets.clear()
    assert fetch(make_downlink()) == BLOB
    assert cloud.fetch_offsets == [3_000]


@pytest.mark.parametrize("size", [500, 9_500, 20_000])
def test_a_damaged_partial_file_is_begun_again(
    cloud: FakeCloud, make_downlink: MakeDownlink, tmp_path: Path, size: int
) -> None:
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / f"{DIGEST.hex()}.part").write_bytes(b"\0" * size)
    assert fetch(make_downlink()) == BLOB
    assert cloud.fetch_offsets[-1] == 0


def test_wrong_bytes_are_never_given_out(
    cloud: FakeCloud, make_downlink: MakeDownlink, tmp_path: Path
) -> None:
    cloud.blobs[DIGEST] = bytes([BLOB[0] ^ 1]) + BLOB[1:]
    with pytest.raises(UpdateError) as caught:
        fetch(make_downlink())
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert not list((tmp_path / "downloads").iterdir()), "wrong bytes must not be resumed"


def test_more_bytes_than_announced_are_not_taken(
    cloud: FakeCloud, make_downlink: MakeDownlink
) -> None:
    cloud.blobs[DIGEST] = BLOB + b"more"
    with pytest.raises(LinkError, match="does not follow"):
        fetch(make_downlink())


def test_a_blob_no_longer_offered_is_said_at_once(
    cloud: FakeCloud, make_downlink: MakeDownlink
) -> None:
    cloud.blobs.clear()
    with pytest.raises(LinkError) as caught:
        fetch(make_downlink())
    assert caught.value.reason is Reason.BLOB_UNKNOWN
    assert len(cloud.fetch_offsets) == 1


def test_other_downloads_do_not_pile_up(
    cloud: FakeCloud, make_downlink: MakeDownlink, tmp_path: Path
) -> None:
    other = b"another blob"
    cloud.blobs[hashlib.sha256(other).digest()] = other
    fetch(make_downlink())
    make_downlink().fetch(hashlib.sha256(other).digest(), len(other))
    names = [path.stem for path in (tmp_path / "downloads").iterdir()]
    assert names == [hashlib.sha256(other).hexdigest()]


@pytest.mark.parametrize("num_bytes", [0, -1, 1 << 40])
def test_absurd_sizes_are_refused_before_anything_is_sent(
    cloud: FakeCloud, make_downlink: MakeDownlink, num_bytes: int
) -> None:
    with pytest.raises(UpdateError):
        make_downlink().fetch(DIGEST, num_bytes)
    assert cloud.fetch_offsets == []


# -- through the link ----------------------------------------------------------------------------


@pytest.fixture
def make_link(cloud: FakeCloud, tmp_path: Path) -> Iterator[Callable[[], Link]]:
    made: list[Link] = []
    spool = SqliteSpool(tmp_path / "spool.sqlite", max_bytes=1, max_samples=1)

    def make() -> Link:
        settings = LinkSettings(
            address=cloud.address, poll_s=0.02, backoff=Backoff(first_s=0.02, cap_s=0.1)
        )
        made.append(Link(settings, lambda: ENROLMENT, spool, folder=tmp_path / "link"))
        made[-1].start()
        return made[-1]

    yield make
    for link in made:
        assert link.stop()
    spool.close()


def report(version: int) -> UpdateReport:
    return UpdateReport(
        version=version,
        outcome=UpdateOutcome.FAILED,
        reason=Reason.PROBE_NOT_FINITE,
        detail="layer 3",
        numbers={"agreement": 0.5},
    )


def test_check_asks_and_fetch_brings(cloud: FakeCloud, make_link: Callable[[], Link]) -> None:
    link = make_link()
    until(lambda: link.stats().connected)  # the reply to its enrolment names a newest version, too
    assert link.check(adapter_version=2, failed_versions=(1,)) is None
    cloud.manifest = make_manifest(blob=BLOB, target_version=4)
    manifest = link.check(adapter_version=2, failed_versions=[1, 3])
    assert manifest == cloud.manifest
    assert link.stats().ask_after_s == 0
    cloud.ask_after_s = 40
    assert link.check(adapter_version=2, failed_versions=[1, 3]) == manifest
    assert link.stats().ask_after_s == 40
    cloud.ask_after_s = 2_000_000_000  # no device is sent away for ever
    link.check(adapter_version=2, failed_versions=[1, 3])
    assert link.stats().ask_after_s == MOST_ASK_AFTER_S
    assert link.fetch(manifest) == BLOB
    assert link.stats().newest_version == 4
    query = cloud.queries[-1]
    assert (query.base_model, query.adapter_version) == ("base", 2)
    assert query.failed_versions == (1, 3)


def test_a_report_arrives_and_one_the_cloud_cannot_read_does_not_block(
    cloud: FakeCloud, make_link: Callable[[], Link]
) -> None:
    link = make_link()
    until(lambda: link.stats().connected)
    cloud.report_errors.extend([Reason.STORE_BUSY, Reason.MESSAGE_INVALID])
    with pytest.raises(LinkError) as caught:
        link.report(report(1))
    assert caught.value.reason is Reason.STORE_BUSY
    link.report(report(1))
    link.report(report(2))
    assert cloud.reports == [("device-1", report(2))]


def test_a_cloud_that_forgot_us_gets_an_enrolment_and_then_answers(
    cloud: FakeCloud, make_link: Callable[[], Link]
) -> None:
    link = make_link()
    until(lambda: link.stats().connected)
    cloud.forget()
    with pytest.raises(LinkError) as caught:
        link.report(report(1))
    assert caught.value.reason is Reason.UNKNOWN_DEVICE
    until(lambda: "device-1" in cloud.devices)
    link.report(report(1))
    assert link.check(adapter_version=0, failed_versions=()) is None


def test_a_call_quicker_than_the_enrolment_is_no_failure_of_the_link(
    cloud: FakeCloud, make_link: Callable[[], Link]
) -> None:
    del cloud.devices["device-1"]
    cloud.enrol_errors.extend([Reason.STORE_BUSY] * 1_000)
    link = make_link()
    until(lambda: link.stats().last_error.startswith("store_busy"))
    with pytest.raises(LinkError) as caught:
        link.report(report(1))
    assert caught.value.reason is Reason.UNKNOWN_DEVICE
    assert link.stats().last_error.startswith("store_busy")


def test_offline_calls_end_with_a_clear_error(
    cloud: FakeCloud, make_link: Callable[[], Link]
) -> None:
    link = make_link()
    cloud.stop()
    with pytest.raises(LinkError) as caught:
        link.check(adapter_version=0, failed_versions=())
    assert caught.value.reason is Reason.UNREACHABLE
    assert link.stop()
    with pytest.raises(LinkError):
        link.check(adapter_version=0, failed_versions=())
