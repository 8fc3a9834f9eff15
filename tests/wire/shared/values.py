"""One value of each domain type that travels, every field set to something of its own.

The golden bytes beside this file were written from these values once. A changed value here is a
changed file there: to change neither is the point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from driftline_proto.v1 import control_pb2, downlink_pb2, uplink_pb2
from driftline_shared import wire
from driftline_shared.signing.bundle import SignedBundle, SignedState
from driftline_shared.status import (
    BlobRequest,
    Chunk,
    CloudStatus,
    Correction,
    DevicePage,
    DeviceStatus,
    Enrolment,
    LineStatus,
    RolloutStatus,
    RoundStatus,
    SampleAck,
    SampleVerdict,
    UnknownBase,
    UpdateOutcome,
    UpdateQuery,
    UpdateReport,
    Welcome,
    WorkerStatus,
)
from driftline_shared.tokens import (
    CodedTokens,
    Grid,
    RegionLayout,
    Regions,
    Sample,
    SamplingPolicy,
)
from driftline_shared.update import STEPS_FORMAT, UpdateKind
from tests.fakes.manifests import make_manifest
from tests.fakes.samples import to_batch


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A value, its message class and the pair that leads from one to the other and back."""

    value: Any
    message: Any
    to: Callable[[Any], Any]
    back: Callable[[Any], Any]


TOKENS = CodedTokens(
    codec="int8", num_tokens=3, grid=Grid(frames=2, rows=3, cols=4), payload=bytes(range(40))
)
SAMPLE = Sample(
    id=bytes(range(16)),
    question="Which colour has the circle?",
    answer="grün",
    tokens=TOKENS,
    scores={"entropy": 0.625, "margin": 0.25},
    created_unix_s=1_700_000_000,
    adapter_version=7,
    audit=True,
)
REGIONS = Regions(
    layout=RegionLayout.MOSAIC,
    height=48,
    width=64,
    thumbnail=bytes(range(30)),
    crops=bytes(range(90, 150)),
)
SAMPLE_WITH_REGIONS = replace(
    SAMPLE, tokens=replace(TOKENS, grid=Grid(rows=6, cols=4)), regions=REGIONS
)
POLICY = SamplingPolicy(
    revision=3,
    gate_score="margin",
    gate_quantile=0.875,
    token_scorer="vocabulary_entropy",
    token_share=0.25,
    token_codec="int4",
    sample_bytes=4_096,
    day_bytes=1_000_000,
    samples_per_hour=12.5,
    audit_rate=0.125,
    images_may_leave=True,
    max_sample_share=0.375,
    repeat_distance=0.0,  # what a peer of before leaves out
)
POLICY_AUTO = replace(POLICY, token_codec="auto")
POLICY_CHOICE = replace(POLICY, token_spread=0.5, token_mass=0.75, token_floor=0.0625)
POLICY_REPEATS = replace(POLICY_CHOICE, token_codec="auto", repeat_distance=0.25)
STATUS = CloudStatus(
    cloud_id="cloud-1",
    version="0.1.0",
    lines=(
        LineStatus(
            line="tiny/ba5e",
            newest_version=4,
            num_samples=900,
            num_waiting=17,
            num_rounds=5,
            round=RoundStatus(
                round_id="round-5",
                state="distilling",
                num_samples=300,
                target_version=5,
                reason="count",
                numbers={"loss": 0.5},
                progress=0.75,
            ),
            devices=(
                DeviceStatus(
                    device_id="device-1",
                    adapter_version=4,
                    last_seen_unix_s=1_700_000_000,
                    last_report="applied",
                ),
            ),
        ),
        LineStatus(line="tiny/0th", newest_version=0, num_samples=0, num_waiting=0, num_rounds=0),
    ),
)
STATUS_OF_WORKERS = replace(
    STATUS,
    lines=(
        replace(
            STATUS.lines[0],
            workers=(
                WorkerStatus(
                    owner="beside-0123",
                    state="working",
                    reason="round-5 distilling",
                    progress=0.75,
                    last_seen_unix_s=1_700_000_000,
                ),
            ),
        ),
    ),
)
STATUS_OF_FLEET = replace(
    STATUS,
    lines=tuple(replace(line, num_devices=1_504, num_quarantined=3) for line in STATUS.lines[:1]),
)
STATUS_OF_ROLLOUT = replace(
    STATUS,
    lines=(
        replace(
            STATUS.lines[0],
            rollout=RolloutStatus(
                version=4,
                state="rolling",
                phase=2,
                num_phases=3,
                share=0.25,
                num_devices=10,
                num_reported=7,
                num_bad=1,
                reason="waits for 60 s of its phase",
            ),
        ),
    ),
)
STATUS_OF_LINES = replace(
    STATUS,
    lines=tuple(replace(line, state="paused", pair="tiny") for line in STATUS.lines[:1]),
    unknown_bases=(
        UnknownBase(
            base_model="feed" * 16, pair="smol", num_devices=3, last_seen_unix_s=1_700_000_000
        ),
    ),
)
STATUS_OF_TROUBLES = replace(STATUS, troubles=("updates are not signed: no room. Free some.",))
ENROLMENT = Enrolment(
    device_id="device-1",
    pair="tiny",
    token_space="70ce" * 16,
    base_model="ba5e" * 16,
    adapter_version=4,
)
REPORT = UpdateReport(
    version=5,
    outcome=UpdateOutcome.ROLLED_BACK,
    reason="watch_errors",
    detail="3 of 50 answers failed",
    numbers={"agreement": 0.5},
)


def _golden(value: Any, message: Any, to: Any, back: Any) -> Golden:
    return Golden(value=value, message=message, to=to, back=back)


GOLDEN: dict[str, Golden] = {
    "sample": _golden(SAMPLE, uplink_pb2.Sample, wire.to_sample, wire.from_sample),
    "sample_with_regions": _golden(
        SAMPLE_WITH_REGIONS, uplink_pb2.Sample, wire.to_sample, wire.from_sample
    ),
    "sample_with_owner_answer": _golden(
        replace(SAMPLE, owner_answer="two"), uplink_pb2.Sample, wire.to_sample, wire.from_sample
    ),
    "regions": _golden(REGIONS, uplink_pb2.Regions, wire.to_regions, wire.from_regions),
    "coded_tokens": _golden(
        TOKENS, uplink_pb2.CodedTokens, wire.to_coded_tokens, wire.from_coded_tokens
    ),
    "sample_batch": _golden(
        [SAMPLE],
        uplink_pb2.SampleBatch,
        lambda samples: to_batch("device-1", "70ce" * 16, samples),
        lambda message: [wire.from_sample(sample) for sample in message.samples],
    ),
    "sample_acks": _golden(
        [
            SampleAck(id=bytes([number]) * 16, verdict=verdict, reason="store_busy", detail="Why.")
            for number, verdict in enumerate(SampleVerdict)
        ],
        uplink_pb2.SampleAcks,
        wire.to_acks,
        wire.from_acks,
    ),
    "sample_wants_answer": _golden(
        replace(SAMPLE, wants_answer=True), uplink_pb2.Sample, wire.to_sample, wire.from_sample
    ),
    "sample_acks_of_answers": _golden(
        [
            SampleAck(id=bytes(16), verdict=SampleVerdict.STORED, answer_follows=True),
            SampleAck(id=bytes(16), verdict=SampleVerdict.STORED, no_answer="answers_full"),
        ],
        uplink_pb2.SampleAcks,
        wire.to_acks,
        wire.from_acks,
    ),
    "batch_seen": _golden(
        [bytes(range(16))],
        uplink_pb2.EncodedBatch,
        lambda seen: wire.to_batch("device-1", "70ce" * 16, [b"a sample"], seen=seen),
        wire.from_seen,
    ),
    "correction": _golden(
        Correction(
            id=bytes(range(16)),
            answer="grün",
            confidence=0.75,
            teacher="7eac" * 16,
            answered_unix_s=1_700_000_000,
        ),
        uplink_pb2.Correction,
        wire.to_correction,
        wire.from_correction,
    ),
    "correction_none": _golden(
        Correction(id=bytes(range(16)), no_answer="answer_late"),
        uplink_pb2.Correction,
        wire.to_correction,
        wire.from_correction,
    ),
    "policy": _golden(POLICY, control_pb2.SamplingPolicy, wire.to_policy, wire.from_policy),
    "policy_auto": _golden(
        POLICY_AUTO, control_pb2.SamplingPolicy, wire.to_policy, wire.from_policy
    ),
    "policy_choice": _golden(
        POLICY_CHOICE, control_pb2.SamplingPolicy, wire.to_policy, wire.from_policy
    ),
    "policy_repeats": _golden(
        POLICY_REPEATS, control_pb2.SamplingPolicy, wire.to_policy, wire.from_policy
    ),
    "enrolment": _golden(
        ENROLMENT, control_pb2.EnrolRequest, wire.to_enrolment, wire.from_enrolment
    ),
    "welcome": _golden(
        Welcome(cloud_id="cloud-1", policy=POLICY, newest_version=4),
        control_pb2.EnrolReply,
        wire.to_welcome,
        wire.from_welcome,
    ),
    "cloud_status": _golden(
        STATUS, control_pb2.StatusReply, wire.to_cloud_status, wire.from_cloud_status
    ),
    "cloud_status_workers": _golden(
        STATUS_OF_WORKERS, control_pb2.StatusReply, wire.to_cloud_status, wire.from_cloud_status
    ),
    "cloud_status_of_lines": _golden(
        STATUS_OF_LINES, control_pb2.StatusReply, wire.to_cloud_status, wire.from_cloud_status
    ),
    "cloud_status_of_troubles": _golden(
        STATUS_OF_TROUBLES, control_pb2.StatusReply, wire.to_cloud_status, wire.from_cloud_status
    ),
    "cloud_status_of_rollout": _golden(
        STATUS_OF_ROLLOUT, control_pb2.StatusReply, wire.to_cloud_status, wire.from_cloud_status
    ),
    "cloud_status_of_fleet": _golden(
        STATUS_OF_FLEET, control_pb2.StatusReply, wire.to_cloud_status, wire.from_cloud_status
    ),
    "status_request": _golden(
        DevicePage(num_devices=50, offset=100),
        control_pb2.StatusRequest,
        wire.to_status_request,
        wire.from_status_request,
    ),
    "update_query": _golden(
        UpdateQuery(
            device_id="device-1", base_model="ba5e", adapter_version=4, failed_versions=(2, 3)
        ),
        downlink_pb2.CheckRequest,
        wire.to_update_query,
        wire.from_update_query,
    ),
    "update_query_format": _golden(
        UpdateQuery(
            device_id="device-1",
            base_model="ba5e",
            adapter_version=4,
            failed_versions=(2, 3),
            manifest_format=STEPS_FORMAT,
        ),
        downlink_pb2.CheckRequest,
        wire.to_update_query,
        wire.from_update_query,
    ),
    "update_query_signed": _golden(
        UpdateQuery(
            device_id="device-1",
            base_model="ba5e",
            adapter_version=4,
            failed_versions=(2, 3),
            manifest_format=STEPS_FORMAT,
            signed=SignedState(
                root=2, timestamp=1_795_968_202, snapshot=1_795_968_201, targets=7, line=9
            ),
        ),
        downlink_pb2.CheckRequest,
        wire.to_update_query,
        wire.from_update_query,
    ),
    "signed_bundle": _golden(
        SignedBundle(
            line="tiny-ba5e",
            roots=(b"root 2", b"root 3"),
            timestamp=b"timestamp",
            snapshot=b"snapshot",
            targets=b"targets",
            line_targets=b"line",
        ),
        downlink_pb2.SignedBundle,
        wire.to_signed_bundle,
        wire.from_signed_bundle,
    ),
    "manifest_delta": _golden(
        make_manifest(), downlink_pb2.Manifest, wire.to_manifest, wire.from_manifest
    ),
    "manifest_full": _golden(
        make_manifest(kind=UpdateKind.FULL),
        downlink_pb2.Manifest,
        wire.to_manifest,
        wire.from_manifest,
    ),
    "manifest_head": _golden(
        replace(make_manifest(), ik_head=bytes(range(24))),
        downlink_pb2.Manifest,
        wire.to_manifest,
        wire.from_manifest,
    ),
    "blob_request": _golden(
        BlobRequest(device_id="device-1", digest=bytes(range(32)), offset=1 << 40),
        downlink_pb2.FetchRequest,
        wire.to_blob_request,
        wire.from_blob_request,
    ),
    "chunk": _golden(
        Chunk(offset=1 << 20, data=b"some of the bytes"),
        downlink_pb2.Chunk,
        wire.to_chunk,
        wire.from_chunk,
    ),
    "report": _golden(
        ("device-1", REPORT),
        downlink_pb2.ReportRequest,
        lambda value: wire.to_report(*value),
        wire.from_report,
    ),
}
