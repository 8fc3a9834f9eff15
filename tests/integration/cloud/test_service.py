"""The cloud's service as a device sees it: real gRPC on loopback, good and bad messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from sqlalchemy import select

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.state import read_port
from driftline_proto.v1 import control_pb2, downlink_pb2, uplink_pb2
from driftline_shared import wire
from driftline_shared.bounds import MAX_CHUNK_BYTES
from driftline_shared.errors import ConfigError, LinkError, Reason
from driftline_shared.host.loopback import free_port
from driftline_shared.pair.pair import Pair
from driftline_shared.pair.spec import TranslatorSpec
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import (
    BlobRequest,
    SampleVerdict,
    UpdateOutcome,
    UpdateQuery,
    UpdateReport,
)
from driftline_shared.tokens import Sample
from driftline_shared.update import Manifest, UpdateKind
from driftline_shared.update_apply import apply_update
from tests.fakes.cloud import make_sample, start_adapter
from tests.fakes.pictures import draw_picture, spoil, with_regions

from .conftest import TIMEOUT_S, RunningCloud

pytestmark = pytest.mark.integration

Start = Callable[..., RunningCloud]


@contextmanager
def _refused(reason: Reason, code: grpc.StatusCode | None = None) -> Iterator[Any]:
    """The call inside fails for `reason`, in words, with the status `code`."""
    with pytest.raises(grpc.RpcError) as caught:
        yield caught
    error = caught.value
    assert dict(error.trailing_metadata()).get(wire.REASON_KEY) == reason
    assert error.details()
    assert code is None or error.code() is code


def _messages(cloud: RunningCloud, numbers: range) -> list[uplink_pb2.Sample]:
    return [wire.to_sample(make_sample(n, cloud.pair.token_space)) for n in numbers]


def _batch(
    cloud: RunningCloud, messages: list[uplink_pb2.Sample], *, space: str = ""
) -> uplink_pb2.SampleBatch:
    space = space or cloud.pair.token_space.digest
    return uplink_pb2.SampleBatch(device_id="d1", token_space=space, samples=messages)


def _spoil(message: uplink_pb2.Sample, **changes: object) -> uplink_pb2.Sample:
    spoilt = uplink_pb2.Sample()
    spoilt.CopyFrom(message)
    for name, value in changes.items():
        target = spoilt.tokens if name in {"payload", "crc32", "codec", "rows"} else spoilt
        setattr(target, name, value)
    return spoilt


def _make_version(cloud: RunningCloud, version: int = 1) -> None:
    """Send what one round takes, and wait until it has made `version`."""
    cloud.push(_batch(cloud, _messages(cloud, range(version * 100, version * 100 + 40))))
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        line = cloud.line()
        if line.newest_version >= version and line.round and line.round.state == "done":
            return
        time.sleep(0.05)
    raise AssertionError(f"no version {version} within {TIMEOUT_S} s")


# -- enrolment and looking -----------------------------------------------------------------------


def test_a_device_enrols_and_learns_its_policy(cloud: RunningCloud) -> None:
    reply = cloud.control.Enrol(wire.to_enrolment(cloud.enrolment()), timeout=TIMEOUT_S)
    welcome = wire.from_welcome(reply)
    assert welcome.newest_version == 0
    assert welcome.policy == replace(cloud.config.sampling, revision=1)
    policy = cloud.control.GetPolicy(control_pb2.PolicyRequest(device_id="d1"), timeout=TIMEOUT_S)
    assert wire.from_policy(policy) == welcome.policy
    status = fetch_status(f"127.0.0.1:{cloud.port}")
    assert status.cloud_id == welcome.cloud_id
    assert [d.device_id for d in status.lines[0].devices] == ["d1"]
    assert read_port(cloud.config.state) == cloud.port


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token_space": "0" * 64}, Reason.TOKEN_SPACE_UNKNOWN),
        ({"base_model": "0" * 64}, Reason.BASE_MODEL_UNKNOWN),
        ({"protocol": 99}, Reason.PROTOCOL_MISMATCH),
    ],
)
def test_a_device_we_cannot_help_is_told_why(
    cloud: RunningCloud, changes: dict[str, object], reason: Reason
) -> None:
    with _refused(reason, grpc.StatusCode.FAILED_PRECONDITION):
        cloud.enrol(**changes)


def test_unknown_devices_are_refused_everywhere(cloud: RunningCloud) -> None:
    query = UpdateQuery(device_id="d9", base_model=cloud.pair.base_model, adapter_version=0)
    report = UpdateReport(version=1, outcome=UpdateOutcome.APPLIED)
    blob = BlobRequest(device_id="d9", digest=b"x" * 32)
    calls = [
        lambda: cloud.control.GetPolicy(control_pb2.PolicyRequest(device_id="d9")),
        lambda: cloud.downlink.Check(wire.to_update_query(query)),
        lambda: list(cloud.downlink.Fetch(wire.to_blob_request(blob))),
        lambda: cloud.downlink.Report(wire.to_report("d9", report)),
        lambda: cloud.push(_batch(cloud, _messages(cloud, range(1)))),
    ]
    for call in calls:
        with _refused(Reason.UNKNOWN_DEVICE, grpc.StatusCode.UNAUTHENTICATED):
            call()


def test_a_malformed_message_never_shows_our_insides(cloud: RunningCloud) -> None:
    with _refused(Reason.MESSAGE_INVALID, grpc.StatusCode.INVALID_ARGUMENT):
        cloud.control.Enrol(control_pb2.EnrolRequest(device_id="no good\n"), timeout=TIMEOUT_S)


def test_a_fault_of_ours_is_internal_and_says_nothing(
    cloud: RunningCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    from driftline_cloud.intake.devices import DeviceRegister

    def broken(*_args: object, **_kwargs: object) -> None:
        raise KeyError("secret path /srv/x")

    monkeypatch.setattr(DeviceRegister, "find", broken)
    with _refused(Reason.INTERNAL, grpc.StatusCode.INTERNAL) as caught:
        cloud.control.GetPolicy(control_pb2.PolicyRequest(device_id="d1"), timeout=TIMEOUT_S)
    assert "secret" not in caught.value.details()


def test_health_answers_and_reflection_where_it_is_asked_for(
    start_cloud: Callable[..., RunningCloud],
) -> None:
    cloud = start_cloud("shown", reflection=True)
    stub = health_pb2_grpc.HealthStub(cloud.channel)
    for service in ("", "driftline.v1.Uplink"):
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    listing = reflection_pb2_grpc.ServerReflectionStub(cloud.channel).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=TIMEOUT_S
    )
    names = {one.name for reply in listing for one in reply.list_services_response.service}
    assert {"driftline.v1.Control", "driftline.v1.Uplink", "driftline.v1.Downlink"} <= names
    silent = start_cloud("silent")
    with pytest.raises(grpc.RpcError) as caught:
        list(
            reflection_pb2_grpc.ServerReflectionStub(silent.channel).ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=TIMEOUT_S
            )
        )
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# -- up ------------------------------------------------------------------------------------------


def test_a_sample_is_stored_in_the_bytes_it_came_in(cloud: RunningCloud) -> None:
    """Unknown fields included; bytes that are no message cost the others nothing."""
    cloud.enrol()
    first, second = (message.SerializeToString() for message in _messages(cloud, range(2)))
    second += b"\xfa\x3f\x03new"  # field 1023, three bytes
    batch = uplink_pb2.EncodedBatch(
        device_id="d1", token_space=cloud.pair.token_space.digest, samples=[first, b"\xff", second]
    )
    (reply,) = cloud.uplink.Push(iter([batch]), timeout=TIMEOUT_S)
    assert [ack.verdict for ack in wire.from_acks(reply)] == [
        SampleVerdict.STORED,
        SampleVerdict.REFUSED,
        SampleVerdict.STORED,
    ]
    database = Database(cloud.config.database)
    with database.read() as connection:
        rows = connection.execute(select(tables.samples.c.body).order_by("sequence"))
        assert list(rows.scalars()) == [first, second]
    database.close()


def test_one_bad_sample_costs_the_others_nothing(cloud: RunningCloud) -> None:
    cloud.enrol()
    good = _messages(cloud, range(12))
    payload = good[0].tokens.payload
    nan = _spoil(good[1])
    nan.scores["entropy"] = float("nan")
    bare_one = _spoil(good[1])
    bare_one.ClearField("tokens")
    batch = [
        good[0],
        nan,
        _spoil(good[2], rows=3),
        _spoil(good[3], payload=bytes(2 << 20)),
        good[4],
        _spoil(good[5], payload=payload[:-1] + b"?"),
        _spoil(good[6], codec="jpeg"),
        _spoil(good[7], id=b"short"),
        bare_one,
        _spoil(good[9], question=""),
        good[0],
        good[11],
    ]
    acks = cloud.push(_batch(cloud, batch))
    assert [ack.id for ack in acks] == [message.id for message in batch]
    assert [ack.reason for ack in acks] == [
        "",
        Reason.SAMPLE_NOT_FINITE,
        Reason.SAMPLE_SHAPE,
        Reason.SAMPLE_TOO_LARGE,
        "",
        Reason.SAMPLE_CORRUPT,
        Reason.SAMPLE_CODEC_UNKNOWN,
        Reason.SAMPLE_ID_INVALID,
        Reason.SAMPLE_CORRUPT,
        Reason.SAMPLE_TEXT_INVALID,
        "",
        "",
    ]
    refused = [ack for ack in acks if ack.reason]
    assert all(ack.verdict is SampleVerdict.REFUSED and ack.detail for ack in refused)
    assert cloud.line().num_samples == 3
    # What was good is known now; what was bad may come again and be refused again.
    again = cloud.push(_batch(cloud, [good[0], good[4], good[8]]))
    assert [ack.verdict for ack in again] == [
        SampleVerdict.DUPLICATE,
        SampleVerdict.DUPLICATE,
        SampleVerdict.STORED,
    ]


@pytest.fixture
def two_towers(bare: Pair) -> Pair:
    """A pair whose teacher has a tower of its own."""
    return replace(bare, spec=bare.spec.model_copy(update={"translator": TranslatorSpec()}))


def _stored(cloud: RunningCloud, samples: list[Sample]) -> list[Sample]:
    database = Database(cloud.config.database)
    found = SampleStore(database).load([sample.id for sample in samples])
    database.close()
    return found


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_pictures_are_kept_only_where_they_are_asked_for(
    start_cloud: Start, two_towers: Pair, bare: Pair, asks: bool, shared: bool
) -> None:
    cloud = start_cloud(pair=bare if shared else two_towers, **{"sampling.images_may_leave": asks})
    cloud.enrol()
    policy = cloud.control.GetPolicy(control_pb2.PolicyRequest(device_id="d1"), timeout=TIMEOUT_S)
    wanted = asks and not shared
    assert wire.from_policy(policy).images_may_leave is wanted
    samples = [with_regions(make_sample(n, cloud.pair.token_space)) for n in range(3)]
    # A device may hold what it took under another policy: that costs no sample.
    acks = cloud.push(_batch(cloud, [wire.to_sample(sample) for sample in samples]))
    assert [ack.verdict for ack in acks] == [SampleVerdict.STORED] * 3
    kept = [sample.regions for sample in samples] if wanted else [None] * 3
    assert [sample.regions for sample in _stored(cloud, samples)] == kept


def test_one_bad_picture_costs_the_others_nothing(start_cloud: Start, two_towers: Pair) -> None:
    cloud = start_cloud(pair=two_towers, **{"sampling.images_may_leave": True})
    cloud.enrol()
    samples = [
        with_regions(make_sample(n, cloud.pair.token_space), draw_picture(n, 160, 160))
        for n in range(4)
    ]
    crops = samples[1].regions.crops if samples[1].regions else b""
    sent = [
        samples[0],
        spoil(samples[1], crops=crops[: len(crops) // 2]),
        spoil(samples[2], crops=b"no picture"),
        samples[3],
    ]
    messages = [wire.to_sample(sample) for sample in sent]
    messages[3].regions.crc32 ^= 1
    acks = cloud.push(_batch(cloud, messages))
    assert [ack.reason for ack in acks] == [
        "",
        Reason.SAMPLE_PICTURE_INVALID,
        Reason.SAMPLE_PICTURE_INVALID,
        Reason.SAMPLE_CORRUPT,
    ]
    assert [sample.regions for sample in _stored(cloud, samples[:1])] == [samples[0].regions]


def test_another_token_space_is_refused_sample_by_sample(cloud: RunningCloud) -> None:
    cloud.enrol()
    acks = cloud.push(
        _batch(cloud, _messages(cloud, range(2)), space="f" * 64),
        _batch(cloud, _messages(cloud, range(2, 4))),
    )
    assert [ack.reason for ack in acks] == [Reason.TOKEN_SPACE_UNKNOWN] * 2 + [""] * 2


def test_a_quota_holds_samples_back_without_losing_them(start_cloud: Start) -> None:
    cloud = start_cloud(**{"quota.day_samples": 3})
    cloud.enrol()
    acks = cloud.push(_batch(cloud, _messages(cloud, range(5))))
    assert [ack.verdict for ack in acks] == [SampleVerdict.STORED] * 3 + [SampleVerdict.RETRY] * 2
    assert {ack.reason for ack in acks[3:]} == {Reason.QUOTA_EXCEEDED}


def test_too_many_samples_in_one_batch_are_an_error_of_the_call(cloud: RunningCloud) -> None:
    cloud.enrol()
    with _refused(Reason.BATCH_TOO_LARGE):
        cloud.push(_batch(cloud, [uplink_pb2.Sample()] * 5_000))


def test_a_stream_without_a_word_ends_when_the_cloud_stops(cloud: RunningCloud) -> None:
    cloud.enrol()
    over = threading.Event()

    def one_then_silence() -> Iterator[uplink_pb2.SampleBatch]:
        yield _batch(cloud, _messages(cloud, range(2)))
        over.wait(TIMEOUT_S)

    replies = cloud.uplink.Push(one_then_silence())
    assert len(next(replies).acks) == 2
    stopper = threading.Thread(target=cloud.stop_serving)
    stopper.start()
    with _refused(Reason.UNREACHABLE, grpc.StatusCode.UNAVAILABLE):
        next(replies)
    over.set()
    stopper.join(TIMEOUT_S)


# -- rounds and down -----------------------------------------------------------------------------


def _offered(cloud: RunningCloud, version: int = 0) -> Manifest:
    manifest = _check(cloud, version)
    assert manifest is not None
    return manifest


def _check(cloud: RunningCloud, version: int = 0, failed: tuple[int, ...] = ()) -> Manifest | None:
    query = UpdateQuery(
        device_id="d1",
        base_model=cloud.pair.base_model,
        adapter_version=version,
        failed_versions=failed,
    )
    reply = cloud.downlink.Check(wire.to_update_query(query), timeout=TIMEOUT_S)
    return wire.from_manifest(reply.manifest) if reply.HasField("manifest") else None


def _fetch(cloud: RunningCloud, digest: bytes, offset: int = 0) -> bytes:
    request = wire.to_blob_request(BlobRequest(device_id="d1", digest=digest, offset=offset))
    data = b""
    for message in cloud.downlink.Fetch(request, timeout=TIMEOUT_S):
        chunk = wire.from_chunk(message)
        assert chunk.offset == offset + len(data)
        assert len(chunk.data) <= MAX_CHUNK_BYTES
        data += chunk.data
    return data


def test_samples_become_an_update_that_a_device_can_apply(cloud: RunningCloud) -> None:
    cloud.enrol()
    assert _check(cloud) is None
    _make_version(cloud)
    manifest = _offered(cloud)
    blob = _fetch(cloud, manifest.blob_digest)
    adapter = apply_update(start_adapter(), manifest, blob)
    assert any(np.any(adapter[name] != start_adapter()[name]) for name in adapter)
    # Resume from any offset, and from the very end.
    for offset in (1, manifest.blob_bytes // 2, manifest.blob_bytes):
        assert _fetch(cloud, manifest.blob_digest, offset) == blob[offset:]
    # What the device says is kept; what failed on it is not offered again.
    assert _check(cloud, 1) is None
    assert _check(cloud, 0, failed=(1,)) is None
    report = UpdateReport(version=1, outcome=UpdateOutcome.APPLIED, reason="applied")
    cloud.downlink.Report(wire.to_report("d1", report), timeout=TIMEOUT_S)
    (device,) = cloud.line().devices
    assert (device.adapter_version, device.last_report) == (1, "applied 1: applied")


@pytest.mark.parametrize(
    ("digest", "offset", "reason", "code"),
    [
        (b"x" * 32, 0, Reason.BLOB_UNKNOWN, grpc.StatusCode.NOT_FOUND),
        (b"short", 0, Reason.BLOB_UNKNOWN, grpc.StatusCode.NOT_FOUND),
        (None, 1 << 40, Reason.OFFSET_INVALID, grpc.StatusCode.OUT_OF_RANGE),
    ],
)
def test_a_fetch_that_cannot_be_is_refused(
    cloud: RunningCloud,
    digest: bytes | None,
    offset: int,
    reason: Reason,
    code: grpc.StatusCode,
) -> None:
    cloud.enrol()
    if digest is None:
        _make_version(cloud)
        manifest = _offered(cloud)
        digest = manifest.blob_digest
    request = downlink_pb2.FetchRequest(device_id="d1", digest=digest, offset=offset)
    with _refused(reason, code):
        list(cloud.downlink.Fetch(request, timeout=TIMEOUT_S))


def test_a_device_on_another_base_is_offered_everything_once(cloud: RunningCloud) -> None:
    cloud.enrol()
    _make_version(cloud)
    report = UpdateReport(version=1, outcome=UpdateOutcome.REFUSED, reason="base_mismatch")
    cloud.downlink.Report(wire.to_report("d1", report), timeout=TIMEOUT_S)
    manifest = _offered(cloud)
    assert manifest.kind is UpdateKind.FULL
    other = {name: np.zeros_like(array) for name, array in start_adapter().items()}
    adapter = apply_update(other, manifest, _fetch(cloud, manifest.blob_digest))
    assert any(np.any(array) for array in adapter.values())


def test_a_device_that_was_away_gets_one_update(cloud: RunningCloud) -> None:
    cloud.enrol()
    for version in (1, 2):
        _make_version(cloud, version)
    manifest = _offered(cloud, 0)
    assert (manifest.base_version, manifest.target_version) == (0, 2)
    direct = apply_update(start_adapter(), manifest, _fetch(cloud, manifest.blob_digest))
    last = _offered(cloud, 1)
    assert last.target_digest == manifest.target_digest
    assert direct.keys() == start_adapter().keys()


# -- the process ---------------------------------------------------------------------------------


def test_two_clouds_do_not_share_a_state_or_a_port(start_cloud: Start, cloud: RunningCloud) -> None:
    with pytest.raises(ConfigError, match="in use by process"):
        start_cloud()
    with pytest.raises(ConfigError, match="cannot listen"):
        start_cloud("other", listen=f"127.0.0.1:{cloud.port}")


def test_metrics_are_served_where_asked(start_cloud: Start) -> None:
    import urllib.request

    port = free_port()
    cloud = start_cloud(**{"metrics.port": port})
    cloud.enrol()
    cloud.push(_batch(cloud, _messages(cloud, range(3))))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as reply:
        text = reply.read().decode()
    line = cloud.line().line
    assert f'driftline_cloud_samples_total{{line="{line}",reason="",verdict="stored"}} 3.0' in text
    assert "driftline_cloud_uplink_bytes_total" in text


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(LinkError) as caught:
        fetch_status("127.0.0.1:9", timeout_s=2.0)
    assert caught.value.reason is Reason.UNREACHABLE
