"""Whatever comes from outside is within bounds or refused, with the exact reason."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_proto.v1 import downlink_pb2, uplink_pb2
from driftline_shared import bounds, wire
from driftline_shared.errors import DriftlineError, LinkError, Reason, SampleError, UpdateError
from driftline_shared.status import UpdateReport
from driftline_shared.tokens import (
    MAX_PICTURE_SIDE,
    MAX_SAMPLE_BYTES,
    MAX_TEXT_CHARS,
    MAX_TOKENS,
    Sample,
)
from driftline_shared.update import MAX_RAW_BYTES, UpdateKind
from tests.fakes.manifests import make_manifest
from tests.fakes.samples import to_batch
from tests.wire.shared.values import (
    ENROLMENT,
    GOLDEN,
    POLICY,
    REPORT,
    SAMPLE,
    SAMPLE_WITH_REGIONS,
)

Break = Callable[[Any], None]


def put(**changes: Any) -> Break:
    """Set fields of a message; a dotted name is written with two underscores."""

    def apply(message: Any) -> None:
        for name, value in changes.items():
            *path, last = name.split("__")
            target = message
            for part in path:
                target = getattr(target, part)
            setattr(target, last, value)

    return apply


def put_payload(payload: bytes) -> Break:
    return put(tokens__payload=payload, tokens__crc32=zlib.crc32(payload))


def put_scores(scores: dict[str, float]) -> Break:
    def apply(message: Any) -> None:
        message.scores.clear()
        message.scores.update(scores)

    return apply


BROKEN_SAMPLES: list[tuple[Break, Reason]] = [
    (put(id=b""), Reason.SAMPLE_ID_INVALID),
    (put(id=b"x" * 15), Reason.SAMPLE_ID_INVALID),
    (put(id=b"x" * 17), Reason.SAMPLE_ID_INVALID),
    (lambda message: message.ClearField("tokens"), Reason.SAMPLE_CORRUPT),
    (put(tokens__crc32=1), Reason.SAMPLE_CORRUPT),
    (put_payload(b""), Reason.SAMPLE_CORRUPT),
    (put_payload(b"x" * (MAX_SAMPLE_BYTES + 1)), Reason.SAMPLE_TOO_LARGE),
    (put(tokens__codec=""), Reason.SAMPLE_CODEC_UNKNOWN),
    (put(tokens__codec="x" * 129), Reason.SAMPLE_CODEC_UNKNOWN),
    (put(tokens__num_tokens=0), Reason.SAMPLE_SHAPE),
    (put(tokens__num_tokens=25), Reason.SAMPLE_SHAPE),
    (put(tokens__frames=0), Reason.SAMPLE_SHAPE),
    (put(tokens__rows=MAX_TOKENS, tokens__cols=2), Reason.SAMPLE_SHAPE),
    (put(tokens__rows=(1 << 32) - 1, tokens__cols=(1 << 32) - 1), Reason.SAMPLE_SHAPE),
    (put(question=""), Reason.SAMPLE_TEXT_INVALID),
    (put(question=" \n"), Reason.SAMPLE_TEXT_INVALID),
    (put(question="x" * (MAX_TEXT_CHARS + 1)), Reason.SAMPLE_TEXT_INVALID),
    (put(answer="x" * (MAX_TEXT_CHARS + 1)), Reason.SAMPLE_TEXT_INVALID),
    (put(answer="a\0b"), Reason.SAMPLE_TEXT_INVALID),
    (put_scores({"entropy": float("nan")}), Reason.SAMPLE_NOT_FINITE),
    (put_scores({"entropy": float("inf")}), Reason.SAMPLE_NOT_FINITE),
    (put_scores({f"score_{n}": 0.0 for n in range(17)}), Reason.SAMPLE_CORRUPT),
    (put_scores({"": 0.5}), Reason.SAMPLE_CORRUPT),
    (put(created_unix_s=-1), Reason.SAMPLE_CORRUPT),
    (put(adapter_version=-1), Reason.SAMPLE_CORRUPT),
]


def put_pictures(thumbnail: bytes, crops: bytes, **changes: Any) -> Break:
    """Other pictures in the regions, with their crc32."""

    def apply(message: Any) -> None:
        crc32 = zlib.crc32(thumbnail + crops)
        put(regions__thumbnail=thumbnail, regions__crops=crops, regions__crc32=crc32)(message)
        put(**changes)(message)

    return apply


BROKEN_REGIONS: list[tuple[Break, Reason]] = [
    (put(regions__layout=0), Reason.SAMPLE_PICTURE_INVALID),
    (put(regions__layout=77), Reason.SAMPLE_PICTURE_INVALID),
    (put(regions__layout=2), Reason.SAMPLE_PICTURE_INVALID),
    (put(regions__crc32=1), Reason.SAMPLE_CORRUPT),
    (put(regions__crops=b"other"), Reason.SAMPLE_CORRUPT),
    (put(regions__height=0), Reason.SAMPLE_PICTURE_INVALID),
    (put(regions__height=5), Reason.SAMPLE_PICTURE_INVALID),
    (put(regions__width=MAX_PICTURE_SIDE + 1), Reason.SAMPLE_PICTURE_INVALID),
    (put(regions__width=(1 << 32) - 1), Reason.SAMPLE_PICTURE_INVALID),
    (put(tokens__frames=2), Reason.SAMPLE_PICTURE_INVALID),
    (put_pictures(b"", b"crops"), Reason.SAMPLE_PICTURE_INVALID),
    (put_pictures(b"thumbnail", b""), Reason.SAMPLE_PICTURE_INVALID),
    (put_pictures(b"", b"", regions__layout=2), Reason.SAMPLE_PICTURE_INVALID),
    (put_pictures(b"x" * MAX_SAMPLE_BYTES, b"x"), Reason.SAMPLE_TOO_LARGE),
    (put_pictures(b"x", b"x" * (MAX_SAMPLE_BYTES - 40)), Reason.SAMPLE_TOO_LARGE),
]


@pytest.mark.parametrize(
    ("sample", "breaks", "reason"),
    [
        *((SAMPLE, *broken) for broken in BROKEN_SAMPLES),
        *((SAMPLE_WITH_REGIONS, *broken) for broken in BROKEN_REGIONS),
    ],
)
def test_broken_samples_are_refused(sample: Sample, breaks: Break, reason: Reason) -> None:
    message = wire.to_sample(sample)
    breaks(message)
    with pytest.raises(SampleError) as caught:
        wire.from_sample(message)
    assert caught.value.reason is reason


def test_stored_samples_have_regions_or_not() -> None:
    for sample in (SAMPLE_WITH_REGIONS, replace(SAMPLE_WITH_REGIONS, regions=None)):
        assert wire.load_sample(wire.dump_sample(sample)) == sample


@pytest.mark.parametrize(
    ("sample", "breaks"),
    [
        (SAMPLE, put_payload(b"x" * MAX_SAMPLE_BYTES)),
        (SAMPLE, put(question="ü" * MAX_TEXT_CHARS)),
        (SAMPLE, put(answer="")),
        (SAMPLE, put(tokens__num_tokens=24)),
        (SAMPLE, put(tokens__rows=256, tokens__cols=128, tokens__num_tokens=MAX_TOKENS)),
        (SAMPLE, put_scores({f"score_{n}": 0.0 for n in range(16)})),
        (SAMPLE, put_scores({})),
        (SAMPLE_WITH_REGIONS, put_pictures(b"x", b"x" * (MAX_SAMPLE_BYTES - 41))),
        (SAMPLE_WITH_REGIONS, put_pictures(b"", b"whole", regions__layout=2)),
        (SAMPLE_WITH_REGIONS, put(regions__height=6, regions__width=4)),
        (
            SAMPLE_WITH_REGIONS,
            put(regions__height=MAX_PICTURE_SIDE, regions__width=MAX_PICTURE_SIDE),
        ),
    ],
)
def test_samples_at_the_bounds_are_taken(sample: Sample, breaks: Break) -> None:
    message = wire.to_sample(sample)
    breaks(message)
    assert wire.to_sample(wire.from_sample(message)) == message


def test_the_largest_sample_fits_into_one_batch() -> None:
    message = wire.to_sample(SAMPLE)
    put_payload(b"x" * MAX_SAMPLE_BYTES)(message)
    put(question="𝄞" * MAX_TEXT_CHARS, answer="𝄞" * MAX_TEXT_CHARS)(message)
    put_scores({f"{n:0128}": 1.0 for n in range(16)})(message)
    batch = to_batch("d" * 128, "s" * 128, [wire.from_sample(message)])
    assert batch.ByteSize() <= bounds.MAX_BATCH_BYTES


def test_the_device_does_not_send_what_the_cloud_refuses() -> None:
    for broken in (
        replace(SAMPLE, id=b"short"),
        replace(SAMPLE, scores={"entropy": float("nan")}),
        replace(SAMPLE, question="\ud800"),
        replace(SAMPLE, tokens=replace(SAMPLE.tokens, payload=b"")),
        replace(SAMPLE, adapter_version=1 << 63),
        replace(SAMPLE, regions=SAMPLE_WITH_REGIONS.regions),  # a clip has none
    ):
        with pytest.raises(SampleError):
            wire.to_sample(broken)


def tensor(**changes: Any) -> Break:
    return lambda message: put(**changes)(message.tensors[0])


def put_shape(*shape: int) -> Break:
    def apply(message: Any) -> None:
        del message.tensors[0].shape[:]
        message.tensors[0].shape.extend(shape)

    return apply


def many_tensors(message: Any) -> None:
    for n in range(65_537):
        message.tensors.add(name=f"t{n}", shape=[1], codec="dense", digest=b"12345678")


BROKEN_MANIFESTS: list[Break] = [
    put(format=0),
    put(format=2),  # it names tensors
    put(format=3),
    put(pair=""),
    put(base_model=""),
    put(token_space="x" * 129),
    put(kind=0),
    put(kind=9),
    put(base_version=-1),
    put(target_version=0),
    put(target_version=1),
    put(base_digest=b""),
    put(base_digest=b"x" * 31),
    put(target_digest=b""),
    put(blob_digest=b"x" * 33),
    put(blob_bytes=0),
    put(blob_bytes=MAX_RAW_BYTES + 1),
    put(raw_bytes=MAX_RAW_BYTES + 1),
    put(raw_bytes=63),
    put(created_unix_s=-1),
    put(expires_unix_s=-1),
    put(num_samples=1 << 63),
    put(round_id="x" * 129),
    put(signature=b"x" * (bounds.MAX_SIGNATURE_BYTES + 1)),
    lambda message: message.gate.update({"agreement": float("nan")}),
    lambda message: message.gate.update({f"n{n}": 0.0 for n in range(bounds.MAX_NUMBERS + 1)}),
    tensor(name=""),
    tensor(name="x" * 513),
    tensor(name="layers.0.b"),
    tensor(codec=""),
    tensor(offset=60),
    tensor(offset=1 << 63),
    tensor(length=1 << 63),
    tensor(length=64),
    tensor(digest=b""),
    put_shape(0),
    put_shape(*[1] * 9),
    put_shape(1 << 31, 1 << 31, 1 << 31),
    put_shape(MAX_RAW_BYTES // 4),
    many_tensors,
]


@pytest.mark.parametrize("breaks", BROKEN_MANIFESTS)
def test_broken_manifests_are_refused(breaks: Break) -> None:
    message = wire.to_manifest(make_manifest())
    breaks(message)
    with pytest.raises(UpdateError) as caught:
        wire.from_manifest(message)
    assert caught.value.reason is Reason.MANIFEST_INVALID


def test_a_full_update_may_leave_its_base_open() -> None:
    manifest = replace(make_manifest(kind=UpdateKind.FULL), base_digest=b"", base_version=0)
    assert wire.from_manifest(wire.to_manifest(manifest)) == manifest


@pytest.mark.parametrize(
    "changes",
    [
        {"gate_quantile": 1.1},
        {"gate_quantile": float("nan")},
        {"token_share": 0.0},
        {"token_share": -0.1},
        {"token_spread": 1.5},
        {"repeat_distance": -0.1},
        {"repeat_distance": float("nan")},
        {"token_mass": -0.5},
        {"token_floor": float("nan")},
        {"audit_rate": 2.0},
        {"max_sample_share": float("inf")},
        {"samples_per_hour": float("inf")},
        {"samples_per_hour": -1.0},
        {"gate_score": ""},
        {"token_scorer": "two\nlines"},
        {"token_codec": "x" * 129},
        {"day_bytes": 1 << 63},
    ],
)
def test_broken_policies_are_refused(changes: dict[str, Any]) -> None:
    message = wire.to_policy(POLICY)
    put(**changes)(message)
    with pytest.raises(LinkError) as caught:
        wire.from_policy(message)
    assert caught.value.reason is Reason.MESSAGE_INVALID
    with pytest.raises(LinkError):
        wire.to_policy(replace(POLICY, **changes))


ENROLMENTS = (lambda: wire.to_enrolment(ENROLMENT), wire.from_enrolment)
REPORTS = (lambda: wire.to_report("device-1", REPORT), wire.from_report)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (ENROLMENTS, {"device_id": ""}),
        (ENROLMENTS, {"device_id": "../../etc"}),
        (ENROLMENTS, {"device_id": "x" * 129}),
        (ENROLMENTS, {"device_id": "two words"}),
        (ENROLMENTS, {"pair": ""}),
        (ENROLMENTS, {"token_space": ""}),
        (ENROLMENTS, {"base_model": "\0"}),
        (ENROLMENTS, {"adapter_version": -1}),
        (REPORTS, {"device_id": ""}),
        (REPORTS, {"version": -1}),
        (REPORTS, {"outcome": "exploded"}),
        (REPORTS, {"reason": "x" * 129}),
    ],
)
def test_broken_enrolments_and_reports_are_refused(
    kind: tuple[Callable[[], Any], Callable[[Any], Any]], changes: dict[str, Any]
) -> None:
    make, read = kind
    message = make()
    put(**changes)(message)
    with pytest.raises(LinkError) as caught:
        read(message)
    assert caught.value.reason is Reason.MESSAGE_INVALID


def test_verdicts_we_do_not_know_are_no_guess() -> None:
    for verdict in (0, 99):
        with pytest.raises(LinkError) as caught:
            wire.from_ack(uplink_pb2.SampleAck(id=SAMPLE.id, verdict=verdict))  # type: ignore[arg-type]
        assert caught.value.reason is Reason.PROTOCOL_MISMATCH


def test_chunks_are_bounded_and_whole() -> None:
    for data, crc32 in ((b"", 0), (b"x" * (bounds.MAX_CHUNK_BYTES + 1), None), (b"x", 1)):
        checksum = zlib.crc32(data) if crc32 is None else crc32
        with pytest.raises(UpdateError):
            wire.from_chunk(downlink_pb2.Chunk(offset=0, data=data, crc32=checksum))


def test_queries_and_blob_requests_are_bounded() -> None:
    with pytest.raises(LinkError):
        wire.from_update_query(
            downlink_pb2.CheckRequest(
                device_id="d", base_model="b", failed_versions=range(bounds.MAX_FAILED_VERSIONS + 1)
            )
        )
    with pytest.raises(UpdateError) as caught:
        wire.from_blob_request(downlink_pb2.FetchRequest(device_id="d", digest=b"short"))
    assert caught.value.reason is Reason.BLOB_UNKNOWN


def test_too_many_failed_versions_lose_the_oldest() -> None:
    query = replace(GOLDEN["update_query"].value, failed_versions=tuple(range(2_000, 0, -1)))
    sent = wire.from_update_query(wire.to_update_query(query))
    assert sent.failed_versions == tuple(range(977, 2_001))


def test_reports_carry_what_can_be_carried() -> None:
    report = replace(REPORT, detail="x" * 5_000, numbers={"loss": float("nan"), "share": 0.5})
    _, sent = wire.from_report(wire.to_report("device-1", report))
    assert sent == replace(report, detail="x" * bounds.MAX_DETAIL_CHARS, numbers={"share": 0.5})


def test_a_report_bound_is_the_same_for_domain_values() -> None:
    with pytest.raises(LinkError):
        bounds.check_report(UpdateReport(version=-1, outcome=REPORT.outcome))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["sample", "sample_with_regions", "manifest_delta"]), st.data())
def test_any_damage_is_refused_or_harmless(name: str, data: st.DataObject) -> None:
    """Flip, cut or insert bytes: either an error of ours, or a value within bounds."""
    golden = GOLDEN[name]
    body = bytearray(golden.to(golden.value).SerializeToString(deterministic=True))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        if name.startswith("manifest"):
            value: Any = wire.from_manifest(downlink_pb2.Manifest.FromString(bytes(body)))
        else:
            value = wire.load_sample(bytes(body))
    except (DriftlineError, DecodeError):
        return
    golden.to(value)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_harmless(body: bytes) -> None:
    with pytest.raises(DriftlineError):
        wire.load_sample(body)
