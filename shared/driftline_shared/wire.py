"""The one place where domain values meet protobuf messages: `to_x` and `from_x` pairs.

`to_x` raises what the other side would refuse; `from_x` bounds and checks everything before it
builds a value, so a domain value that exists is a valid one. Fields we do not know are ignored.
Errors are `SampleError`, `UpdateError` or `LinkError` with the exact reason; gRPC carries the
reason's code in the trailing metadata under `REASON_KEY`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping

from driftline_proto.v1 import control_pb2, downlink_pb2, uplink_pb2
from driftline_shared import bounds
from driftline_shared.errors import LinkError, Reason, SampleError, UpdateError
from driftline_shared.status import (
    BlobRequest,
    Chunk,
    CloudStatus,
    DeviceStatus,
    Enrolment,
    LineStatus,
    RoundStatus,
    SampleAck,
    SampleVerdict,
    UpdateOutcome,
    UpdateQuery,
    UpdateReport,
    Welcome,
)
from driftline_shared.tokens import CodedTokens, Grid, Sample, SamplingPolicy
from driftline_shared.update import MAX_TENSORS, Manifest, TensorEntry, UpdateKind

REASON_KEY = "driftline-reason"
"""Trailing metadata of a failed call: the stable code; the status text is the sentence."""

_VERDICTS = {
    SampleVerdict.STORED: uplink_pb2.SAMPLE_VERDICT_STORED,
    SampleVerdict.DUPLICATE: uplink_pb2.SAMPLE_VERDICT_DUPLICATE,
    SampleVerdict.REFUSED: uplink_pb2.SAMPLE_VERDICT_REFUSED,
    SampleVerdict.RETRY: uplink_pb2.SAMPLE_VERDICT_RETRY,
}
_VERDICTS_BACK = {number: verdict for verdict, number in _VERDICTS.items()}
_KINDS = {
    UpdateKind.DELTA: downlink_pb2.UPDATE_KIND_DELTA,
    UpdateKind.FULL: downlink_pb2.UPDATE_KIND_FULL,
}
_KINDS_BACK = {number: kind for kind, number in _KINDS.items()}


# --- samples -------------------------------------------------------------------------------------


def to_coded_tokens(tokens: CodedTokens) -> uplink_pb2.CodedTokens:
    """Coded tokens with the crc32 of their payload."""
    bounds.check_coded_tokens(tokens)
    return uplink_pb2.CodedTokens(
        codec=tokens.codec,
        num_tokens=tokens.num_tokens,
        frames=tokens.grid.frames,
        rows=tokens.grid.rows,
        cols=tokens.grid.cols,
        payload=tokens.payload,
        crc32=zlib.crc32(tokens.payload),
    )


def from_coded_tokens(message: uplink_pb2.CodedTokens) -> CodedTokens:
    """Coded tokens whose payload is whole; decoding them is the codec's work."""
    tokens = CodedTokens(
        codec=message.codec,
        num_tokens=message.num_tokens,
        grid=Grid(frames=message.frames, rows=message.rows, cols=message.cols),
        payload=message.payload,
    )
    bounds.check_coded_tokens(tokens)
    if zlib.crc32(tokens.payload) != message.crc32:
        raise SampleError("crc32 of the payload differs")
    return tokens


def to_sample(sample: Sample) -> uplink_pb2.Sample:
    """A sample as it travels; `priority` stays on the device, scores are rounded to float32."""
    bounds.check_sample(sample)
    return uplink_pb2.Sample(
        id=sample.id,
        question=sample.question,
        answer=sample.answer,
        tokens=to_coded_tokens(sample.tokens),
        scores=sample.scores,
        created_unix_s=sample.created_unix_s,
        adapter_version=sample.adapter_version,
        audit=sample.audit,
    )


def from_sample(message: uplink_pb2.Sample, *, priority: float = 0.0) -> Sample:
    """A checked sample; `priority` is what the device's own store knows beside the message."""
    if len(message.id) != bounds.SAMPLE_ID_BYTES:
        raise SampleError(
            f"sample id has {len(message.id)} bytes, not {bounds.SAMPLE_ID_BYTES}",
            reason=Reason.SAMPLE_ID_INVALID,
        )
    if not message.HasField("tokens"):
        raise SampleError("sample holds no tokens")
    if len(message.scores) > bounds.MAX_SCORES:
        raise SampleError(f"{len(message.scores)} scores, at most {bounds.MAX_SCORES} are read")
    sample = Sample(
        id=message.id,
        question=message.question,
        answer=message.answer,
        tokens=from_coded_tokens(message.tokens),
        scores=dict(message.scores),
        priority=priority,
        created_unix_s=message.created_unix_s,
        adapter_version=message.adapter_version,
        audit=message.audit,
    )
    bounds.check_sample(sample)
    return sample


def dump_sample(sample: Sample) -> bytes:
    """A sample as bytes for a store: the wire message, serialized."""
    return to_sample(sample).SerializeToString(deterministic=True)


def load_sample(body: bytes, *, priority: float = 0.0) -> Sample:
    """A sample from the bytes of `dump_sample`; `SampleError` if they do not decode."""
    if len(body) > bounds.MAX_BATCH_BYTES:
        raise SampleError(f"{len(body)} bytes are no sample", reason=Reason.SAMPLE_TOO_LARGE)
    message = uplink_pb2.Sample()
    try:
        message.ParseFromString(body)
    except Exception as error:  # DecodeError, whose class differs between protobuf back ends
        raise SampleError("stored bytes are no sample message") from error
    return from_sample(message, priority=priority)


def to_ack(ack: SampleAck) -> uplink_pb2.SampleAck:
    """One ack; a long detail is cut."""
    return uplink_pb2.SampleAck(
        id=ack.id, verdict=_VERDICTS[ack.verdict], reason=ack.reason, detail=_cut(ack.detail)
    )


def from_ack(message: uplink_pb2.SampleAck) -> SampleAck:
    """One ack; a verdict we do not know is a protocol mismatch, not a guess."""
    verdict = _VERDICTS_BACK.get(message.verdict)
    if verdict is None:
        raise LinkError(
            f"verdict {message.verdict} is not known here", reason=Reason.PROTOCOL_MISMATCH
        )
    # The id is not checked: the cloud names a sample by the very bytes that were sent, good or bad.
    return SampleAck(
        id=message.id[: bounds.MAX_WORD_CHARS],
        verdict=verdict,
        reason=message.reason[: bounds.MAX_WORD_CHARS],
        detail=_cut(message.detail),
    )


# --- enrolment and policy ------------------------------------------------------------------------


def to_policy(policy: SamplingPolicy) -> control_pb2.SamplingPolicy:
    """A sampling policy."""
    bounds.check_policy(policy)
    return control_pb2.SamplingPolicy(
        revision=policy.revision,
        gate_score=policy.gate_score,
        gate_quantile=policy.gate_quantile,
        token_scorer=policy.token_scorer,
        token_share=policy.token_share,
        token_codec=policy.token_codec,
        sample_bytes=policy.sample_bytes,
        day_bytes=policy.day_bytes,
        samples_per_hour=policy.samples_per_hour,
        audit_rate=policy.audit_rate,
        images_may_leave=policy.images_may_leave,
        max_sample_share=policy.max_sample_share,
    )


def from_policy(message: control_pb2.SamplingPolicy) -> SamplingPolicy:
    """A checked sampling policy; whether scorer and codec exist is the device's to say."""
    policy = SamplingPolicy(
        revision=message.revision,
        gate_score=message.gate_score,
        gate_quantile=message.gate_quantile,
        token_scorer=message.token_scorer,
        token_share=message.token_share,
        token_codec=message.token_codec,
        sample_bytes=message.sample_bytes,
        day_bytes=message.day_bytes,
        samples_per_hour=message.samples_per_hour,
        audit_rate=message.audit_rate,
        images_may_leave=message.images_may_leave,
        max_sample_share=message.max_sample_share,
    )
    bounds.check_policy(policy)
    return policy


def to_enrolment(enrolment: Enrolment) -> control_pb2.EnrolRequest:
    """How a device introduces itself."""
    bounds.check_enrolment(enrolment)
    return control_pb2.EnrolRequest(
        device_id=enrolment.device_id,
        pair=enrolment.pair,
        token_space=enrolment.token_space,
        base_model=enrolment.base_model,
        protocol=enrolment.protocol,
        adapter_version=enrolment.adapter_version,
    )


def from_enrolment(message: control_pb2.EnrolRequest) -> Enrolment:
    """A checked enrolment; whether pair and protocol fit is the service's to say."""
    enrolment = Enrolment(
        device_id=message.device_id,
        pair=message.pair,
        token_space=message.token_space,
        base_model=message.base_model,
        protocol=message.protocol,
        adapter_version=message.adapter_version,
    )
    bounds.check_enrolment(enrolment)
    return enrolment


def to_welcome(welcome: Welcome) -> control_pb2.EnrolReply:
    """The cloud's answer to an enrolment."""
    return control_pb2.EnrolReply(
        cloud_id=welcome.cloud_id,
        policy=to_policy(welcome.policy),
        newest_version=welcome.newest_version,
    )


def from_welcome(message: control_pb2.EnrolReply) -> Welcome:
    """A checked answer to an enrolment."""
    bounds.check_word("cloud_id", message.cloud_id)
    bounds.check_count("newest_version", message.newest_version)
    return Welcome(
        cloud_id=message.cloud_id,
        policy=from_policy(message.policy),
        newest_version=message.newest_version,
    )


# --- updates -------------------------------------------------------------------------------------


def to_update_query(query: UpdateQuery) -> downlink_pb2.CheckRequest:
    """A question for something newer; the oldest of too many failed versions are left out."""
    return downlink_pb2.CheckRequest(
        device_id=query.device_id,
        base_model=query.base_model,
        adapter_version=query.adapter_version,
        failed_versions=sorted(query.failed_versions)[-bounds.MAX_FAILED_VERSIONS :],
    )


def from_update_query(message: downlink_pb2.CheckRequest) -> UpdateQuery:
    """A checked question for something newer."""
    bounds.check_device_id(message.device_id)
    bounds.check_word("base_model", message.base_model)
    bounds.check_count("adapter_version", message.adapter_version)
    if len(message.failed_versions) > bounds.MAX_FAILED_VERSIONS:
        raise LinkError("too many failed versions", reason=Reason.MESSAGE_INVALID)
    return UpdateQuery(
        device_id=message.device_id,
        base_model=message.base_model,
        adapter_version=message.adapter_version,
        failed_versions=tuple(message.failed_versions),
    )


def to_manifest(manifest: Manifest) -> downlink_pb2.Manifest:
    """A manifest."""
    bounds.check_manifest(manifest)
    return downlink_pb2.Manifest(
        format=manifest.format,
        pair=manifest.pair,
        base_model=manifest.base_model,
        token_space=manifest.token_space,
        base_version=manifest.base_version,
        target_version=manifest.target_version,
        base_digest=manifest.base_digest,
        target_digest=manifest.target_digest,
        kind=_KINDS[manifest.kind],
        tensors=[
            downlink_pb2.TensorEntry(
                name=entry.name,
                shape=entry.shape,
                codec=entry.codec,
                offset=entry.offset,
                length=entry.length,
                digest=entry.digest,
            )
            for entry in manifest.tensors
        ],
        blob_digest=manifest.blob_digest,
        blob_bytes=manifest.blob_bytes,
        raw_bytes=manifest.raw_bytes,
        created_unix_s=manifest.created_unix_s,
        expires_unix_s=manifest.expires_unix_s,
        gate=manifest.gate,
        round_id=manifest.round_id,
        num_samples=manifest.num_samples,
        signature=manifest.signature,
    )


def from_manifest(message: downlink_pb2.Manifest) -> Manifest:
    """A checked manifest; whether it fits this device is for the updates to say."""
    kind = _KINDS_BACK.get(message.kind)
    if kind is None or len(message.tensors) > MAX_TENSORS:
        raise UpdateError(
            f"kind {message.kind} with {len(message.tensors)} tensors is not readable here",
            reason=Reason.MANIFEST_INVALID,
        )
    manifest = Manifest(
        format=message.format,
        pair=message.pair,
        base_model=message.base_model,
        token_space=message.token_space,
        base_version=message.base_version,
        target_version=message.target_version,
        base_digest=message.base_digest,
        target_digest=message.target_digest,
        kind=kind,
        tensors=tuple(_from_tensor(entry) for entry in message.tensors),
        blob_digest=message.blob_digest,
        blob_bytes=message.blob_bytes,
        raw_bytes=message.raw_bytes,
        created_unix_s=message.created_unix_s,
        expires_unix_s=message.expires_unix_s,
        gate=dict(message.gate),
        round_id=message.round_id,
        num_samples=message.num_samples,
        signature=message.signature,
    )
    bounds.check_manifest(manifest)
    return manifest


def _from_tensor(message: downlink_pb2.TensorEntry) -> TensorEntry:
    return TensorEntry(
        name=message.name,
        shape=tuple(message.shape[: bounds.MAX_DIMENSIONS + 1]),
        codec=message.codec,
        offset=message.offset,
        length=message.length,
        digest=message.digest,
    )


def dump_manifest(manifest: Manifest) -> bytes:
    """A manifest as bytes for a store."""
    return to_manifest(manifest).SerializeToString(deterministic=True)


def load_manifest(body: bytes) -> Manifest:
    """A manifest from the bytes of `dump_manifest`; `UpdateError` if they do not decode."""
    message = downlink_pb2.Manifest()
    try:
        message.ParseFromString(body)
    except Exception as error:  # DecodeError, whose class differs between protobuf back ends
        raise UpdateError("stored bytes are no manifest", reason=Reason.MANIFEST_INVALID) from error
    return from_manifest(message)


def to_blob_request(request: BlobRequest) -> downlink_pb2.FetchRequest:
    """A request for the bytes of a blob."""
    bounds.check_digest(request.digest)
    return downlink_pb2.FetchRequest(
        device_id=request.device_id, digest=request.digest, offset=request.offset
    )


def from_blob_request(message: downlink_pb2.FetchRequest) -> BlobRequest:
    """A checked request; whether the offset lies in the blob is the store's to say."""
    bounds.check_device_id(message.device_id)
    bounds.check_digest(message.digest)
    return BlobRequest(device_id=message.device_id, digest=message.digest, offset=message.offset)


def to_chunk(chunk: Chunk) -> downlink_pb2.Chunk:
    """A chunk with the crc32 of its data."""
    return downlink_pb2.Chunk(offset=chunk.offset, data=chunk.data, crc32=zlib.crc32(chunk.data))


def from_chunk(message: downlink_pb2.Chunk) -> Chunk:
    """A chunk that came whole and is not larger than agreed."""
    if not 1 <= len(message.data) <= bounds.MAX_CHUNK_BYTES:
        raise UpdateError(f"a chunk of {len(message.data)} bytes is not within bounds")
    if zlib.crc32(message.data) != message.crc32:
        raise UpdateError(f"crc32 of the chunk at {message.offset} differs")
    return Chunk(offset=message.offset, data=message.data)


def to_report(device_id: str, report: UpdateReport) -> downlink_pb2.ReportRequest:
    """A report; numbers that are not finite are left out, a long detail is cut."""
    numbers = {name: value for name, value in report.numbers.items() if math.isfinite(value)}
    return downlink_pb2.ReportRequest(
        device_id=device_id,
        version=report.version,
        outcome=report.outcome,
        reason=report.reason,
        detail=_cut(report.detail),
        numbers=numbers,
    )


def from_report(message: downlink_pb2.ReportRequest) -> tuple[str, UpdateReport]:
    """(device_id, report), checked."""
    bounds.check_device_id(message.device_id)
    if message.outcome not in set(UpdateOutcome):
        raise LinkError("outcome is not known here", reason=Reason.MESSAGE_INVALID)
    report = UpdateReport(
        version=message.version,
        outcome=UpdateOutcome(message.outcome),
        reason=message.reason,
        detail=_cut(message.detail),
        numbers=_numbers(message.numbers),
    )
    bounds.check_report(report)
    return message.device_id, report


# --- status --------------------------------------------------------------------------------------


def to_cloud_status(status: CloudStatus) -> control_pb2.StatusReply:
    """What an operator sees of a cloud."""
    return control_pb2.StatusReply(
        cloud_id=status.cloud_id,
        version=status.version,
        lines=[_to_line_status(line) for line in status.lines],
    )


def from_cloud_status(message: control_pb2.StatusReply) -> CloudStatus:
    """What an operator sees of a cloud."""
    return CloudStatus(
        cloud_id=message.cloud_id,
        version=message.version,
        lines=tuple(_from_line_status(line) for line in message.lines),
    )


def _to_line_status(line: LineStatus) -> control_pb2.LineStatus:
    return control_pb2.LineStatus(
        line=line.line,
        newest_version=line.newest_version,
        num_samples=line.num_samples,
        num_waiting=line.num_waiting,
        num_rounds=line.num_rounds,
        round=None if line.round is None else _to_round_status(line.round),
        devices=[
            control_pb2.DeviceStatus(
                device_id=device.device_id,
                adapter_version=device.adapter_version,
                last_seen_unix_s=device.last_seen_unix_s,
                last_report=device.last_report,
            )
            for device in line.devices
        ],
    )


def _from_line_status(message: control_pb2.LineStatus) -> LineStatus:
    return LineStatus(
        line=message.line,
        newest_version=message.newest_version,
        num_samples=message.num_samples,
        num_waiting=message.num_waiting,
        num_rounds=message.num_rounds,
        round=_from_round_status(message.round) if message.HasField("round") else None,
        devices=tuple(
            DeviceStatus(
                device_id=device.device_id,
                adapter_version=device.adapter_version,
                last_seen_unix_s=device.last_seen_unix_s,
                last_report=device.last_report,
            )
            for device in message.devices
        ),
    )


def _to_round_status(status: RoundStatus) -> control_pb2.RoundStatus:
    return control_pb2.RoundStatus(
        round_id=status.round_id,
        state=status.state,
        num_samples=status.num_samples,
        target_version=status.target_version,
        reason=status.reason,
        numbers=status.numbers,
        progress=status.progress,
    )


def _from_round_status(message: control_pb2.RoundStatus) -> RoundStatus:
    return RoundStatus(
        round_id=message.round_id,
        state=message.state,
        num_samples=message.num_samples,
        target_version=message.target_version,
        reason=message.reason,
        numbers=_numbers(message.numbers),
        progress=message.progress,
    )


def _numbers(numbers: Mapping[str, float]) -> dict[str, float]:
    if len(numbers) > bounds.MAX_NUMBERS:
        raise LinkError(f"{len(numbers)} numbers are too many", reason=Reason.MESSAGE_INVALID)
    return dict(numbers)


def _cut(text: str) -> str:
    return text[: bounds.MAX_DETAIL_CHARS]


def to_acks(acks: Iterable[SampleAck]) -> uplink_pb2.SampleAcks:
    """One message of acks."""
    return uplink_pb2.SampleAcks(acks=[to_ack(ack) for ack in acks])


def from_acks(message: uplink_pb2.SampleAcks) -> list[SampleAck]:
    """The acks of one message."""
    return [from_ack(ack) for ack in message.acks]


def to_batch(device_id: str, token_space: str, samples: Iterable[Sample]) -> uplink_pb2.SampleBatch:
    """One message of samples; keeping it below `bounds.MAX_BATCH_BYTES` is the caller's work."""
    return uplink_pb2.SampleBatch(
        device_id=device_id,
        token_space=token_space,
        samples=[to_sample(sample) for sample in samples],
    )
